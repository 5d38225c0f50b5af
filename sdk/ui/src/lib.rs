//! What the compiler says to a user of Relive's attributes: `tests/ui`.
//!
//! A package of its own, because its cases are compiled anew with its dependencies: these leave RocksDB out.
