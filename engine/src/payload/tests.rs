//! What payloads promise: by codec, by hook, by what they refuse.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::redact::{self, RedactionKey};
use super::unordered::unordered;
use super::*;

const CODECS: [PayloadCodec; 3] = [PayloadCodec::MESSAGE_PACK, PayloadCodec::JSON, PayloadCodec::BINCODE];

fn written_in(codec: PayloadCodec) -> Encoding {
    Encoding::DEFAULT.with_codec(Some(codec))
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Page {
    url: String,
    bytes: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Part {
    Nothing,
    One(i64),
    Two(String, bool),
    Named { number: f64, rest: Vec<Part> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Whole {
    parts: Vec<Part>,
    by_name: BTreeMap<String, Option<u64>>,
    small: f32,
    large: u128,
    negative: i128,
    letter: char,
    bytes: Bytes,
    unit: (),
}

fn part() -> impl Strategy<Value = Part> {
    let leaf = prop_oneof![
        Just(Part::Nothing),
        any::<i64>().prop_map(Part::One),
        (".*", any::<bool>()).prop_map(|(text, flag)| Part::Two(text, flag)),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        (prop::num::f64::NORMAL | prop::num::f64::ZERO, prop::collection::vec(inner, 0..4))
            .prop_map(|(number, rest)| Part::Named { number, rest })
    })
}

fn whole() -> impl Strategy<Value = Whole> {
    let by_name = prop::collection::btree_map(".*", any::<Option<u64>>(), 0..5);
    let numbers = (prop::num::f32::NORMAL, any::<u128>(), any::<i128>(), any::<char>());
    let bytes = prop::collection::vec(any::<u8>(), 0..40);
    (prop::collection::vec(part(), 0..4), by_name, numbers, bytes).prop_map(
        |(parts, by_name, (small, large, negative, letter), bytes)| Whole {
            parts,
            by_name,
            small,
            large,
            negative,
            letter,
            bytes: bytes.into(),
            unit: (),
        },
    )
}

proptest! {
    #[test]
    fn any_value_comes_back_from_any_codec_sealed_or_not(value in whole(), sealed in any::<bool>()) {
        for codec in CODECS {
            let encoding = written_in(codec);
            let encoding = if sealed { encoding.with_hook(flipping()) } else { encoding };
            let payload = Payload::recordable(&value, &encoding, RoundTrip::Checked).unwrap();
            prop_assert_eq!(payload.decode::<Whole>().unwrap(), value.clone());
        }
    }

    #[test]
    fn any_elements_make_one_set_in_any_order(values in prop::collection::vec(whole(), 0..5).prop_flat_map(|values| {
        (Just(values.clone()), Just(values).prop_shuffle())
    })) {
        let form = |values: &Vec<Whole>| crate::canonical::canonical(&unordered(values)).unwrap();
        prop_assert_eq!(form(&values.0), form(&values.1));
        let mut more = values.1;
        more.extend(values.0.first().cloned());
        prop_assert_eq!(form(&more) == form(&values.0), values.0.is_empty());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), codec in 0u8..5, hook in any::<bool>()) {
        let payload = Payload { codec: PayloadCodec(codec), hook: u8::from(hook) * 200, bytes: bytes.into() };
        let _ = payload.decode::<Whole>();
        let _ = payload.to_value().to_string();
    }
}

#[test]
fn a_changed_type_is_an_error_that_names_the_field() {
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Renamed {
        title: String,
    }
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Narrowed {
        url: String,
        bytes: u8,
    }
    for codec in [PayloadCodec::MESSAGE_PACK, PayloadCodec::JSON] {
        let pages = vec![Page { url: "a".into(), bytes: 7 }, Page { url: "b".into(), bytes: 700 }];
        let payload = Payload::encode_with(&written_in(codec), &BTreeMap::from([("pages", &pages)])).unwrap();
        let missing = payload.decode::<BTreeMap<String, Vec<Renamed>>>().unwrap_err();
        assert!(missing.to_string().contains("title"), "{missing}");
        let narrow = payload.decode::<BTreeMap<String, Vec<Narrowed>>>().unwrap_err();
        assert_eq!(narrow.field(), Some("pages[1].bytes"), "{narrow}");
        assert!(narrow.to_string().starts_with("field `pages[1].bytes`: "), "{narrow}");
    }
}

#[test]
fn bytes_behind_the_value_are_an_error() {
    for codec in CODECS {
        let mut bytes = Payload::encode_with(&written_in(codec), &1u8).unwrap().bytes().to_vec();
        bytes.push(b'0');
        bytes.push(b' ');
        let payload = Payload { codec, hook: 0, bytes: bytes[..].into() };
        assert!(payload.decode::<(u8,)>().is_err(), "{codec}");
        assert!(payload.decode::<String>().is_err(), "{codec}");
    }
}

#[test]
fn bincode_of_another_type_is_an_error_and_shows_as_bytes() {
    let payload =
        Payload::encode_with(&written_in(PayloadCodec::BINCODE), &Page { url: "a".into(), bytes: 7 }).unwrap();
    assert!(payload.decode::<String>().unwrap_err().to_string().contains("left over"));
    assert!(payload.decode::<(String, u32, u32)>().is_err());
    assert!(payload.decode::<Value>().is_err());
    assert_eq!(payload.to_value().to_string(), r#"{"bytes":"016107"}"#);
}

#[test]
fn logs_of_several_codecs_stay_readable() {
    let payloads = CODECS.map(|codec| Payload::encode_with(&written_in(codec), &7u8).unwrap());
    assert_eq!(payloads.each_ref().map(Payload::codec), CODECS);
    assert!(payloads.iter().all(|payload| payload.decode::<u8>() == Ok(7)));
    let unknown = Payload { codec: PayloadCodec(77), hook: 0, bytes: [1][..].into() };
    assert!(unknown.decode::<u8>().unwrap_err().to_string().contains("codec 77"));
}

#[test]
fn payloads_are_alike_if_a_reader_gets_the_same() {
    let entries = [("a", 1), ("b", 2)];
    let in_order = |order: [usize; 2], codec| {
        struct Map([(&'static str, i32); 2]);
        impl Serialize for Map {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0)
            }
        }
        [None, Some(flipping())].map(|hook| {
            let encoding = written_in(codec);
            let encoding = hook.map_or(encoding.clone(), |hook| encoding.with_hook(hook));
            Payload::encode_with(&encoding, &Map(order.map(|index| entries[index]))).unwrap()
        })
    };
    for codec in CODECS {
        for (a, b) in in_order([0, 1], codec).iter().zip(&in_order([1, 0], codec)) {
            assert!(a != b && a.is_like(b), "{codec}");
            assert!(!a.is_like(&in_order([0, 0], codec)[0]), "{codec}");
        }
    }
    let [json, bincode] = [CODECS[1], CODECS[2]].map(|codec| Payload::encode_with(&written_in(codec), &1u8).unwrap());
    assert!(json.is_like(&bincode));
}

#[test]
fn what_is_too_large_is_refused_with_size_limit_and_advice() {
    let encoding = Encoding::DEFAULT.with_bytes_max(10);
    let error = Payload::encode_with(&encoding, "a text of some length").unwrap_err().to_string();
    for part in ["22 bytes", "the 10 that", "store it elsewhere", "payload_bytes_max"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(Payload::encode_with(&encoding, "short").is_ok());
    let most = Encoding::DEFAULT.with_bytes_max(usize::MAX);
    let huge = Bytes::from(vec![0; PAYLOAD_BYTES_LIMIT]);
    for encoding in [most.clone(), most.with_hook(Arc::new(Shrinking))] {
        let error = Payload::encode_with(&encoding, &huge).unwrap_err().to_string();
        assert!(error.contains("more than the 33554432"), "{error}");
    }
    assert_eq!(Encoding::DEFAULT.with_bytes_max(usize::MAX).bytes_max(), PAYLOAD_BYTES_LIMIT);
}

/// Makes everything small.
struct Shrinking;

impl PayloadHook for Shrinking {
    fn id(&self) -> u8 {
        220
    }

    fn name(&self) -> &str {
        "shrinking"
    }

    fn seal(&self, _bytes: &[u8]) -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }

    fn open(&self, _bytes: &[u8]) -> Result<Vec<u8>, String> {
        Err("nothing is left".to_owned())
    }
}

/// Flips all bits, and marks what it sealed.
struct Flipping(u8, &'static str);

impl PayloadHook for Flipping {
    fn id(&self) -> u8 {
        self.0
    }

    fn name(&self) -> &str {
        self.1
    }

    fn seal(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        Ok(bytes.iter().map(|byte| !byte).chain([9]).collect())
    }

    fn open(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let Some((9, sealed)) = bytes.split_last() else { return Err("not mine".to_owned()) };
        Ok(sealed.iter().map(|byte| !byte).collect())
    }
}

fn flipping() -> Arc<dyn PayloadHook> {
    let hook: Arc<dyn PayloadHook> = Arc::new(Flipping(200, "flipping"));
    hook::register(&hook).unwrap();
    hook
}

#[test]
fn sealed_payloads_open_where_their_hook_is_known() {
    let encoding = Encoding::DEFAULT.with_hook(flipping());
    let payload = Payload::encode_with(&encoding, "secret").unwrap();
    assert_eq!((payload.hook(), payload.decode::<String>()), (Some(200), Ok("secret".to_owned())));
    assert!(!payload.bytes().windows(6).any(|bytes| bytes == b"secret"));
    assert_eq!(payload.to_value(), Value::Text("secret".into()));
    assert_eq!(format!("{payload:?}"), "Payload(sealed by hook 200, 8 bytes)");

    let late = Payload::encode("secret").unwrap().sealed(&encoding).unwrap();
    assert_eq!(late, payload);
    for encoding in [&encoding, &Encoding::DEFAULT] {
        assert_eq!(late.clone().sealed(encoding).as_ref(), Ok(&late));
    }

    let unknown = Payload { hook: 201, ..payload.clone() };
    let error = unknown.decode::<String>().unwrap_err().to_string();
    assert!(error.contains("payload hook 201") && error.contains("payload_hook_for_reading"), "{error}");
    assert!(unknown.to_value().to_string().starts_with(r#"{"sealed_by":201,"content":{"bytes":""#));
    let damaged = Payload { bytes: [1, 2][..].into(), ..payload };
    assert_eq!(damaged.decode::<String>().unwrap_err().to_string(), "payload hook `flipping` cannot open it: not mine");
}

#[test]
fn bytes_that_are_no_payload_are_sealed_alike() {
    let bytes = Bytes::from_static(b"canonical");
    let plain = Encoding::DEFAULT.seal_bytes(&bytes).unwrap();
    let sealed = Encoding::DEFAULT.with_hook(flipping()).seal_bytes(&bytes).unwrap();
    assert_eq!((&*plain.open().unwrap(), &*sealed.open().unwrap()), (&bytes[..], &bytes[..]));
    assert_eq!((plain.hook(), sealed.hook()), (None, Some(200)));
    assert_ne!(plain, sealed);
}

#[test]
fn an_id_belongs_to_one_hook() {
    let hook = |id, name| -> Arc<dyn PayloadHook> { Arc::new(Flipping(id, name)) };
    hook::register(&hook(210, "first")).unwrap();
    hook::register(&hook(210, "first")).unwrap();
    let error = hook::register(&hook(210, "second")).unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::DuplicateName);
    assert!(error.to_string().contains("`first` and `second`"), "{error}");
    assert_eq!(hook::register(&hook(127, "low")).unwrap_err().kind(), crate::error::ErrorKind::Unsupported);
}

fn refused<T: Serialize + serde::de::DeserializeOwned>(value: &T, codec: PayloadCodec, check: RoundTrip) -> String {
    Payload::recordable(value, &written_in(codec), check).unwrap_err().to_string()
}

#[test]
fn what_a_codec_would_lose_without_a_word_is_refused_in_every_build() {
    for codec in CODECS {
        assert!(refused(&Some(None::<u8>), codec, RoundTrip::Surveyed).contains("cannot be told from None"));
        assert!(refused(&vec![Some(())], codec, RoundTrip::Surveyed).contains("cannot be told from None"));
    }
    assert!(refused(&vec![f64::NAN], PayloadCodec::JSON, RoundTrip::Surveyed).contains("NaN"));
    assert!(refused(&f32::INFINITY, PayloadCodec::JSON, RoundTrip::Surveyed).contains("infinity"));
    assert!(Payload::recordable(&f64::NAN, &Encoding::DEFAULT, RoundTrip::Checked).is_ok());
    #[derive(Serialize, Deserialize)]
    struct Sparse {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        first: Option<u8>,
        second: u8,
    }
    let sparse = |first| Sparse { first, second: 1 };
    assert!(refused(&sparse(None), PayloadCodec::BINCODE, RoundTrip::Surveyed).contains("`first`"));
    assert!(Payload::recordable(&sparse(None), &Encoding::DEFAULT, RoundTrip::Checked).is_ok());
    let bincode = written_in(PayloadCodec::BINCODE);
    assert!(Payload::recordable(&sparse(Some(1)), &bincode, RoundTrip::Checked).is_ok());
}

#[test]
fn what_is_given_as_json_is_read_as_whatever_type_reads_it() {
    type Odd = (IpAddr, BTreeMap<u16, bool>, u128, i128, Option<f64>);
    let text = r#" ["10.0.0.7", {"7": true}, 340282366920938463463374607431768211455,
        -170141183460469231731687303715884105728, 1e308]"#;
    let payload = Payload::json(text).unwrap();
    let odd = (IpAddr::from([10, 0, 0, 7]), BTreeMap::from([(7, true)]), u128::MAX, i128::MIN, Some(1e308));
    assert_eq!(payload.decode::<Odd>().unwrap(), odd);
    assert_eq!((payload.codec(), payload.bytes()), (PayloadCodec::JSON, text.trim().as_bytes()));
    assert!(payload.to_value().to_string().starts_with(r#"["10.0.0.7",{"7":true},"#));
    for none in ["", "inf", "NaN", "1e999", "[1", "1 2", "'a'"] {
        assert!(Payload::json(none).is_err(), "{none}");
    }
    let sealed = payload.clone().recorded_as(&Encoding::DEFAULT.with_hook(flipping())).unwrap();
    assert_eq!((sealed.hook().is_some(), sealed.decode::<Odd>().unwrap()), (true, odd));
    assert_eq!(payload.clone().recorded_as(&Encoding::DEFAULT).unwrap(), payload);
    let refusal = payload.recorded_as(&Encoding::DEFAULT.with_bytes_max(8)).unwrap_err().to_string();
    assert!(refusal.contains("more than the 8 that are recorded"), "{refusal}");
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Host {
    Address(IpAddr),
    Name(String),
}

#[test]
fn what_messagepack_gives_a_form_that_its_type_cannot_read_is_recorded_in_json() {
    let host = Host::Address([10, 0, 0, 7].into());
    for check in [RoundTrip::Checked, RoundTrip::Surveyed] {
        let payload = Payload::recordable(&vec![host.clone()], &Encoding::DEFAULT, check).unwrap();
        assert_eq!((payload.codec(), payload.bytes()), (PayloadCodec::JSON, br#"["10.0.0.7"]"#.as_slice()));
        assert_eq!(payload.decode::<Vec<Host>>().unwrap(), vec![host.clone()]);
        // What it can read is written as before: names, and addresses where their type is known.
        for codec in CODECS.into_iter().take(2) {
            let name = Payload::recordable(&Host::Name("db".into()), &written_in(codec), check).unwrap();
            assert_eq!(name.codec(), codec);
        }
        let plain = Payload::recordable(&IpAddr::from([10, 0, 0, 7]), &Encoding::DEFAULT, check).unwrap();
        assert_eq!(plain.codec(), PayloadCodec::MESSAGE_PACK);
        // JSON has no infinity, so that neither will do.
        let neither = (host.clone(), f64::INFINITY);
        assert!(refused(&neither, PayloadCodec::MESSAGE_PACK, check).contains("cannot be read back"));
    }
    assert_eq!(Payload::readable(&Encoding::DEFAULT, &host).unwrap().decode::<Host>().unwrap(), host);
    assert_eq!(Payload::readable(&Encoding::DEFAULT, &7u8).unwrap().codec(), PayloadCodec::MESSAGE_PACK);
}

#[test]
fn arguments_that_were_measured_are_walked_twice_to_be_written_and_looked_at() {
    thread_local! {
        static WALKS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }
    #[derive(Deserialize)]
    struct Walked;
    impl Serialize for Walked {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            WALKS.set(WALKS.get() + 1);
            serializer.serialize_unit_struct("Walked")
        }
    }
    Payload::readable(&Encoding::IN_MEMORY, &Walked).unwrap();
    assert_eq!(WALKS.get(), 2);
}

#[test]
fn what_passes_the_bound_on_depth_is_read_by_every_codec() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Tree {
        Leaf,
        List(Vec<Tree>),
        Named { below: Box<Tree> },
        Wrapped(Box<Tree>),
        Pair(Box<Tree>, u8),
        Maybe(Option<Box<Tree>>),
    }
    type Level = fn(Tree) -> Tree;
    let levels: [Level; 5] = [
        |tree| Tree::List(vec![tree]),
        |tree| Tree::Named { below: Box::new(tree) },
        |tree| Tree::Wrapped(Box::new(tree)),
        |tree| Tree::Pair(Box::new(tree), 1),
        |tree| Tree::Maybe(Some(Box::new(tree))),
    ];
    for codec in CODECS {
        for level in levels {
            let mut deepest = 0;
            for depth in 1..200 {
                let tree = (0..depth).fold(Tree::Leaf, |tree, _| level(tree));
                match Payload::recordable(&tree, &written_in(codec), RoundTrip::Surveyed) {
                    Ok(payload) => {
                        assert_eq!(payload.decode::<Tree>().as_ref(), Ok(&tree), "{codec}");
                        deepest = depth;
                    }
                    Err(error) => assert!(error.to_string().contains("levels deep"), "{error}"),
                }
            }
            assert!((40..150).contains(&deepest), "{codec}: {deepest}");
        }
    }
}

/// What users have, and serde takes for a sequence.
#[expect(clippy::disallowed_types, reason = "it is what is refused, unless it is declared")]
type Set = std::collections::HashSet<u32>;

#[test]
fn bytes_that_nest_without_end_are_an_error() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Chain(Option<Box<Chain>>);
    let bincode = Payload { codec: PayloadCodec::BINCODE, hook: 0, bytes: vec![1; 1 << 20].into() };
    let error = bincode.decode::<Chain>().unwrap_err().to_string();
    assert!(error.contains("levels deep"), "{error}");
    #[derive(Debug, Serialize, Deserialize)]
    struct Tree(Vec<Tree>);
    for (codec, byte) in [(CODECS[0], 0x91), (CODECS[1], b'['), (CODECS[2], 1)] {
        let payload = Payload { codec, hook: 0, bytes: vec![byte; 1 << 20].into() };
        assert!(payload.decode::<Tree>().is_err(), "{codec}");
        let _ = payload.to_value();
    }
}

#[test]
fn a_value_that_would_change_is_refused_and_the_field_is_named() {
    #[derive(Serialize, Deserialize)]
    struct Half {
        kept: u8,
        #[serde(skip_deserializing)]
        lost: u8,
    }
    let error =
        refused(&BTreeMap::from([("half".to_owned(), Half { kept: 1, lost: 2 })]), CODECS[0], RoundTrip::Checked);
    assert!(error.starts_with("field `half.lost`: it is not the same"), "{error}");
    assert!(Payload::recordable(&Half { kept: 1, lost: 0 }, &Encoding::DEFAULT, RoundTrip::Checked).is_ok());

    // Each set has an order of its own, so a set of many elements is read back in another one.
    let set: Set = (0..100).collect();
    let error = refused(&set, CODECS[0], RoundTrip::Checked);
    assert!(error.contains("BTreeSet") && error.contains("relive::unordered"), "{error}");
    let declared = Payload::recordable(&unordered(set.clone()), &Encoding::DEFAULT, RoundTrip::Checked).unwrap();
    assert_eq!(declared, Payload::encode(&set).unwrap());
    #[derive(Serialize, Deserialize)]
    struct Tagged {
        #[serde(with = "crate::payload::unordered")]
        tags: Set,
    }
    for codec in CODECS {
        let tagged = Tagged { tags: set.clone() };
        let payload = Payload::recordable(&tagged, &written_in(codec), RoundTrip::Checked).unwrap();
        assert_eq!(payload.decode::<Tagged>().unwrap().tags, set);
    }
}

#[test]
fn a_value_that_cannot_be_read_back_is_refused() {
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u8),
        Text(String),
    }
    for value in [Either::Number(1), Either::Text("a".into())] {
        let error = refused(&value, PayloadCodec::BINCODE, RoundTrip::Checked);
        assert!(error.contains("cannot be read back"), "{error}");
        assert!(Payload::recordable(&value, &Encoding::DEFAULT, RoundTrip::Checked).is_ok());
    }
}

#[derive(Serialize)]
struct Login<'a> {
    user: User<'a>,
    others: Vec<User<'a>>,
    host: &'a str,
    raw: Bytes,
}

#[derive(Serialize)]
struct User<'a> {
    name: &'a str,
    password: Option<&'a str>,
}

fn login(password: &str) -> Login<'_> {
    let user = |name| User { name, password: Some(password) };
    Login { user: user("ada"), others: vec![user("eve")], host: "example.org", raw: Bytes::from_static(b"\x00\xff") }
}

const PATHS: &[&str] = &["user.password", "others.password"];

#[test]
fn redacted_arguments_are_masked_in_the_record_and_count_in_the_key() {
    let (key, other) = (RedactionKey::from_bytes([1; 32]), RedactionKey::from_bytes([2; 32]));
    for codec in CODECS {
        let call = |password| Arguments::of(&login(password), &written_in(codec), PATHS).unwrap();
        let (first, again, second) = (call("hunter2"), call("hunter2"), call("*******"));
        assert_eq!(first.hash(&key), again.hash(&key));
        assert_ne!(first.hash(&key), second.hash(&key));
        assert_ne!(first.hash(&key), first.hash(&other));
        let plain = Arguments::of(&login("hunter2"), &written_in(codec), &[]).unwrap();
        assert_ne!(first.hash(&key), plain.hash(&key));
        assert_eq!(plain.hash(&key), plain.hash(&other));
        assert_eq!(first.payload, second.payload);

        let shown = format!("{first:?} {:?}", first.hash(&key));
        assert!(!shown.contains("hunter2"), "{shown}");
        let value = first.payload.to_value();
        assert_eq!(value.get("user").and_then(|user| user.get("password")), Some(&Value::Text("[redacted]".into())));
        assert_eq!(value.get("user").and_then(|user| user.get("name")), Some(&Value::Text("ada".into())));
        assert_eq!(value.get("host"), Some(&Value::Text("example.org".into())));
        if codec != PayloadCodec::JSON {
            assert_eq!(value.get("raw"), Some(&Value::Bytes(vec![0, 255])));
        }
        assert!(!first.payload.bytes().windows(7).any(|bytes| bytes == b"hunter2"));
    }
}

#[test]
fn a_path_that_names_nothing_is_an_error_and_one_that_ends_early_is_not() {
    let of = |paths| Arguments::of(&login("hunter2"), &Encoding::DEFAULT, paths);
    for paths in [&["token"][..], &["user.pass"], &["user.password", "others.pass"], &["host.name"]] {
        let error = of(paths).unwrap_err().to_string();
        assert!(error.contains(paths.last().unwrap()) && !error.contains("hunter2"), "{error}");
    }
    let mut value =
        Value::Map(vec![(Value::Text("user".into()), Value::Null), (Value::Text("list".into()), Value::List(vec![]))]);
    let before = value.clone();
    redact::mask(&mut value, &["user.password", "list.token"]).unwrap();
    assert_eq!(value, before);
}

#[test]
fn a_key_of_the_traces_own_tells_calls_apart_and_hides_what_is_redacted() {
    let key = RedactionKey::from_bytes([1; 32]);
    let plain = |host: &str| Arguments::of(&login("a"), &Encoding::DEFAULT, &[]).unwrap().keyed(host).unwrap();
    assert_eq!(plain("x").hash(&key), crate::id::InputHash::of(&crate::canonical::canonical("x").unwrap()));
    let hidden = Arguments::of(&login("a"), &Encoding::DEFAULT, PATHS).unwrap().keyed("x").unwrap();
    assert_ne!(hidden.hash(&key), plain("x").hash(&key));
}

#[test]
fn small_numbers_of_a_wide_type_are_read_back_however_many() {
    // Written in a byte each, and 16 in memory: more than payloads may take on the disk.
    let count = crate::payload::PAYLOAD_BYTES_LIMIT / 16 + 1_000;
    let numbers = vec![0_u128; count];
    let payload = Payload::encode_with(&Encoding::DEFAULT.with_codec(Some(PayloadCodec::BINCODE)), &numbers).unwrap();
    assert!(payload.bytes().len() < count + 16);
    assert_eq!(payload.decode::<Vec<u128>>().unwrap().len(), count);
}

#[test]
fn a_store_draws_its_key_once() {
    use relive_storage::{Durability, MemoryStore, Store, Write};
    let store = MemoryStore::new();
    let (first, write) = redact::redaction_key(&store, &Fixed(1)).unwrap();
    let (precondition, operation) = write.unwrap();
    let write = Write { preconditions: vec![precondition], operations: vec![operation] };
    store.commit(&[write], Durability::Sync).unwrap();
    let (second, write) = redact::redaction_key(&store, &Fixed(2)).unwrap();
    assert_eq!((first.hash(b"x"), write), (second.hash(b"x"), None));
    assert_eq!(first.hash(b"x"), RedactionKey::from_bytes([1; 32]).hash(b"x"));
    assert_eq!(format!("{first:?}"), "RedactionKey(…)");
}

/// Draws one byte again and again.
struct Fixed(u8);

impl crate::entropy::Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), String> {
        bytes.fill(self.0);
        Ok(())
    }
}
