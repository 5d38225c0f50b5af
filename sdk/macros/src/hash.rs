//! Tells whether two versions of a function are the same code.
//!
//! A hash of its tokens, walked: blank space, line breaks, comments, doc comments, the function's name and visibility do
//! not count, nor does the comma that rustfmt puts at the end of a list that it breaks over lines. Everything else does,
//! every literal included. What the function calls is not looked into. What the predicates of `cfg` in it come to is mixed in
//! where the build decides it (`in_build`).
//!
//! Invariant: this hash is written into logs and cache entries. A change of the walk makes every function an edited one.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// 16 bytes tell apart every version of a function that anyone will ever write.
pub(crate) const BYTES: usize = 16;

/// Which code this is: the attribute's `settings`, and the `function` from its signature on.
pub(crate) fn code(settings: Vec<TokenStream>, function: TokenStream) -> [u8; BYTES] {
    let mut walk = Walk(blake3::Hasher::new());
    for setting in settings {
        walk.group("setting", setting, true);
    }
    walk.tokens(unnamed(function), false);
    let mut code = [0; BYTES];
    code.copy_from_slice(&walk.0.finalize().as_bytes()[..BYTES]);
    code
}

/// What is mixed into a code for the `index`-th predicate of `cfg` in it, if that holds and if not.
pub(crate) fn in_build(code: [u8; BYTES], index: usize) -> [[u8; BYTES]; 2] {
    [true, false].map(|holds| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"cfg").update(&code).update(&(index as u64).to_le_bytes()).update(&[holds.into()]);
        let mut mixed = [0; BYTES];
        mixed.copy_from_slice(&hasher.finalize().as_bytes()[..BYTES]);
        mixed
    })
}

/// The function without its name, which the engine holds beside the code: a renamed function is the same code.
fn unnamed(function: TokenStream) -> TokenStream {
    let mut name_is_next = false;
    let mut named = false;
    let keep = |token: &TokenTree| {
        if name_is_next && !named {
            named = true;
            return false;
        }
        name_is_next = matches!(token, TokenTree::Ident(word) if word == "fn");
        true
    };
    function.into_iter().filter(keep).collect()
}

struct Walk(blake3::Hasher);

impl Walk {
    /// One item: what it is, how long, what it says. So that no two sequences of items look alike.
    fn item(&mut self, what: u8, text: &str) {
        self.0.update(&[what]);
        self.0.update(&(text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
    }

    fn group(&mut self, open: &str, tokens: TokenStream, last_comma_counts: bool) {
        self.item(b'(', open);
        self.tokens(tokens, last_comma_counts);
        self.item(b')', "");
    }

    fn tokens(&mut self, tokens: TokenStream, last_comma_counts: bool) {
        let mut tokens = tokens.into_iter().peekable();
        let mut before: Option<TokenTree> = None;
        while let Some(token) = tokens.next() {
            match &token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    let inner = tokens.next_if(|next| is_punct(next, '!'));
                    if tokens.next_if(is_doc).is_none() {
                        self.item(b'p', "#");
                        inner.iter().for_each(|_| self.item(b'p', "!"));
                    }
                }
                TokenTree::Punct(punct) if punct.as_char() == ',' => {
                    let last = tokens.peek().is_none_or(|next| is_punct(next, '>'));
                    if last_comma_counts || !last {
                        self.item(b'p', ",");
                    }
                }
                // `a && b` and `a & &b` differ in blank space alone, and in what they do.
                TokenTree::Punct(punct) if punct.as_char() == '&' && punct.spacing() == Spacing::Joint => {
                    let and = tokens.next_if(|next| is_punct(next, '&')).is_some();
                    self.item(b'p', if and { "&&" } else { "&" });
                }
                TokenTree::Punct(punct) => self.item(b'p', punct.as_char().encode_utf8(&mut [0; 4])),
                TokenTree::Ident(word) => self.item(b'i', &word.to_string()),
                TokenTree::Literal(literal) => self.item(b'l', &literal.to_string()),
                TokenTree::Group(group) => {
                    let inner = group.stream();
                    let one_tuple = is_one_tuple(before.as_ref(), group.delimiter(), inner.clone());
                    match group.delimiter() {
                        Delimiter::Parenthesis => self.group("(", inner, one_tuple),
                        Delimiter::Brace => self.group("{", inner, false),
                        Delimiter::Bracket => self.group("[", inner, false),
                        // Left by another macro; the compiler prints nothing for it.
                        Delimiter::None => self.tokens(inner, false),
                    }
                }
            }
            before = Some(token);
        }
    }
}

/// Whether the last comma in these parentheses means something: `(a,)` is not `(a)`, but `f(a,)` is `f(a)`.
fn is_one_tuple(before: Option<&TokenTree>, delimiter: Delimiter, inner: TokenStream) -> bool {
    let call = match before {
        Some(TokenTree::Ident(word)) => !["return", "in", "match", "if", "while", "else"].iter().any(|key| word == key),
        Some(TokenTree::Punct(punct)) => punct.as_char() == '!',
        _ => false,
    };
    let commas = inner.into_iter().filter(|token| is_punct(token, ',')).count();
    delimiter == Delimiter::Parenthesis && commas == 1 && !call
}

pub(crate) fn is_punct(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

fn is_doc(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else { return false };
    let first = group.stream().into_iter().next();
    group.delimiter() == Delimiter::Bracket && matches!(first, Some(TokenTree::Ident(word)) if word == "doc")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::Errors;
    use crate::parse::{Kind, Source};

    fn hash(settings: &str, function: &str) -> [u8; BYTES] {
        let [settings, function] = [settings, function].map(|text| text.parse::<TokenStream>().unwrap());
        let mut errors = Errors::default();
        Source::parse(Kind::Trace, settings, function, &mut errors).unwrap().code
    }

    const BASE: &str = "async fn f(a: u32, b: &str) -> Result<u32, E> { let x=-1; g(a, b, join!(a,b)) && h((a,)) }";

    #[test]
    fn formatting_comments_and_docs_do_not_count() {
        let formatted =
            "/// What it does.\n#[allow(unused)]\npub(crate)\nasync fn f(\n    a: u32, // the first\n    b: &str,\n)
             -> Result<u32, E>\n{\n    //! Inner.\n    /// A constant.\n    let x = -1;
             g(\n a,\n b,\n join!(a, b,),\n)\n && h((a,))\n}";
        assert_eq!(hash("", BASE), hash("", formatted));
    }

    #[test]
    fn the_names_do_not_count() {
        let renamed = BASE.replace("fn f", "fn fetch");
        assert_eq!(hash("", BASE), hash("name = \"f\"", &renamed));
        assert_ne!(hash("", BASE), hash("outside = \"call\"", BASE));
    }

    #[test]
    fn everything_else_counts() {
        let edits =
            [("-1", "-2"), ("&&", "||"), ("&&", "& &"), ("(a,)", "(a)"), ("u32,", "u64,"), ("join!", "select!")];
        for (old, new) in edits.into_iter().chain([("a, b", "ab"), ("h((a,))", "{ h((a,)) }"), ("b:", "mut b:")]) {
            assert_ne!(hash("", BASE), hash("", &BASE.replace(old, new)), "{old} to {new}");
        }
    }

    #[test]
    fn the_hash_of_a_function_never_changes() {
        let hex = hash("", BASE).map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(hex, "309170a23210131d545b3eecc018828f");
    }
}
