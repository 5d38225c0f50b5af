//! Cuts hostile bytes into pieces, each with a byte that says what it is for.
//!
//! Used by `export` and `rows`, so that what a fuzzer learns of one piece holds wherever it stands.
//!
//! Invariant: any bytes are some pieces, and no piece is longer than what is there.

/// A piece: what it is for, and its bytes.
pub(super) type Piece<'a> = (u8, &'a [u8]);

/// Pieces, each behind two bytes: what it is for, and its length; a length of 255 is all that is left.
pub(super) struct Pieces<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let [purpose, length, rest @ ..] = self.0 else { return None };
        let length = if *length == u8::MAX { rest.len() } else { rest.len().min((*length).into()) };
        let (piece, rest) = rest.split_at(length);
        self.0 = rest;
        Some((*purpose, piece))
    }
}
