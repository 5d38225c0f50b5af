//! Reads and checks an error type that derives `TypedError`.
//!
//! The engine reports its own errors (a cancelled run, a payload over the limit) as the type that a function says it
//! returns. So such a type has a place for them: a variant, or a function that makes one of them.

use proc_macro2::Ident;
use syn::ext::IdentExt;
use syn::{Attribute, Data, DataEnum, DeriveInput, Error, Fields, Member, Meta, Path, Variant, parse_quote};

use crate::errors::Errors;
use crate::nearest::guess;
use crate::setting::Setting;

/// An error type that is in order.
pub(crate) struct TypedError {
    pub(crate) ident: Ident,
    /// The name on record.
    pub(crate) name: String,
    /// Where the `relive` crate is found.
    pub(crate) root: Path,
    /// Every value says that another try is of no use.
    pub(crate) terminal: bool,
    /// None if it is a struct.
    pub(crate) variants: Vec<VariantKind>,
    /// What makes one of the engine's error, if no variant does.
    pub(crate) from: Option<Path>,
}

pub(crate) enum VariantKind {
    Ordinary,
    /// Another try is of no use.
    Terminal(Ident),
    /// Holds the engine's error in this field.
    Engine(Ident, Member),
}

impl TypedError {
    pub(crate) fn read(input: &DeriveInput) -> syn::Result<Self> {
        let mut errors = Errors::default();
        let mut read = TypedError {
            ident: input.ident.clone(),
            name: input.ident.unraw().to_string(),
            root: parse_quote!(::relive),
            terminal: false,
            variants: vec![],
            from: None,
        };
        for setting in written(&input.attrs, &mut errors) {
            errors.value(read.set(&setting));
        }
        if !input.generics.params.is_empty() {
            let message = "a typed error has no parameters: its name on record stands for one type";
            errors.push(&input.generics, message);
        }
        match &input.data {
            Data::Enum(data) => read.read_variants(data, &mut errors),
            Data::Struct(data) => {
                data.fields.iter().for_each(|field| no_settings(&field.attrs, &mut errors));
                if read.from.is_none() {
                    let message = format!(
                        "the engine reports its own errors as this type, too: say what makes one of them by \
                         `#[relive(from = path::to::function)]`, a `fn(relive::Error) -> {}`, or make it an enum",
                        read.ident
                    );
                    errors.push(&read.ident, message);
                }
            }
            Data::Union(data) => errors.push(data.union_token, "a typed error is an enum or a struct"),
        }
        errors.finish().map(|()| read)
    }

    fn set(&mut self, setting: &Setting) -> syn::Result<()> {
        match setting.key.to_string().as_str() {
            "name" => self.name = setting.text("fetch-error")?.value(),
            "crate" => self.root = setting.assigned("`crate` takes a path, as in `crate = my::relive`")?,
            "from" => {
                let expected = "`from` takes a `fn(relive::Error) -> Self`, as in `from = Refused::by_engine`";
                self.from = Some(setting.assigned(expected)?);
            }
            "terminal" => {
                setting.alone()?;
                self.terminal = true;
            }
            "engine" => {
                let message = "`engine` marks the variant that holds the engine's errors: put it there";
                return Err(Error::new_spanned(&setting.key, message));
            }
            other => {
                let guess = guess(other, &["name", "terminal", "from", "crate"]);
                let message = format!(
                    "unknown setting `{other}`: on a type, #[relive] takes `name`, `terminal`, `from`, `crate`{guess}"
                );
                return Err(Error::new_spanned(&setting.key, message));
            }
        }
        Ok(())
    }

    fn read_variants(&mut self, data: &DataEnum, errors: &mut Errors) {
        for variant in &data.variants {
            variant.fields.iter().for_each(|field| no_settings(&field.attrs, errors));
            let kind = self.variant(variant, errors);
            self.variants.push(kind);
        }
        let mut engine = data.variants.iter().zip(&self.variants).filter_map(|(variant, kind)| match kind {
            VariantKind::Engine(..) => Some(variant),
            _ => None,
        });
        match (engine.next(), &self.from) {
            (None, None) => errors.push(
                &self.ident,
                "the engine reports its own errors as this type, too, so it needs a place for them: add a variant \
                 `#[relive(engine)] Engine(relive::Error)`",
            ),
            (Some(variant), Some(_)) => errors.push(
                &variant.ident,
                "`engine` and `from` both say what becomes of the engine's errors: leave one of them out",
            ),
            _ => {}
        }
        if let Some(second) = engine.next() {
            errors.push(&second.ident, "one variant holds the engine's errors, and another is marked `engine` already");
        }
    }

    fn variant(&self, variant: &Variant, errors: &mut Errors) -> VariantKind {
        let (mut engine, mut terminal) = (None, None);
        for setting in written(&variant.attrs, errors) {
            errors.value(setting.alone());
            match setting.key.to_string().as_str() {
                "engine" => engine = Some(setting.key),
                "terminal" => terminal = Some(setting.key),
                other => {
                    let guess = guess(other, &["engine", "terminal"]);
                    let message =
                        format!("unknown setting `{other}`: on a variant, #[relive] takes `engine`, `terminal`{guess}");
                    errors.push(&setting.key, message);
                }
            }
        }
        if let (Some(terminal), None, true) = (&terminal, &engine, self.terminal) {
            errors.push(terminal, "the type is marked `terminal`, and all its variants are: leave one of them out");
        }
        let Some(engine) = engine else {
            return terminal.map_or(VariantKind::Ordinary, |_| VariantKind::Terminal(variant.ident.clone()));
        };
        if let Some(terminal) = terminal {
            errors.push(terminal, "an error of the engine's says itself whether another try is of use: leave this out");
        }
        let mut fields = variant.fields.iter();
        let (Some(field), None) = (fields.next(), fields.next()) else {
            let message =
                "`engine` marks a variant that holds a `relive::Error` and nothing else, as `Engine(relive::Error)`";
            errors.push(engine, message);
            return VariantKind::Ordinary;
        };
        if let Some(from) = field.attrs.iter().find(|attribute| attribute.path().is_ident("from")) {
            errors.push(from, "`TypedError` writes `From<relive::Error>` itself: leave this `#[from]` out");
        }
        let member = match &variant.fields {
            Fields::Named(_) => field.ident.clone().map(Member::Named),
            _ => None,
        };
        VariantKind::Engine(variant.ident.clone(), member.unwrap_or_else(|| Member::from(0)))
    }
}

/// The settings in all `#[relive(…)]` of one place.
fn written(attributes: &[Attribute], errors: &mut Errors) -> Vec<Setting> {
    let mut written: Vec<Setting> = vec![];
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("relive")) {
        let Meta::List(list) = &attribute.meta else {
            errors.push(attribute, "`relive` takes settings in parentheses, as in `#[relive(terminal)]`");
            continue;
        };
        for setting in Setting::split(list.tokens.clone(), errors) {
            if written.iter().any(|other| other.key == setting.key) {
                errors.push(&setting.key, format!("`{}` is given twice", setting.key));
            } else {
                written.push(setting);
            }
        }
    }
    written
}

fn no_settings(attributes: &[Attribute], errors: &mut Errors) {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("relive")) {
        errors.push(attribute, "#[relive] goes on the type or on a variant, not on a field");
    }
}

#[cfg(test)]
mod tests {
    use super::TypedError;

    fn said(item: &str) -> Vec<String> {
        let input = syn::parse_str(item).expect("an item");
        let Err(error) = TypedError::read(&input) else { return vec![] };
        error.into_iter().map(|error| error.to_string()).collect()
    }

    fn assert_said(item: &str, starts: &[&str]) {
        let said = said(item);
        assert_eq!(said.len(), starts.len(), "{item}: {said:#?}");
        for (message, start) in said.iter().zip(starts) {
            assert!(message.starts_with(start), "{item}: {message}");
        }
    }

    #[test]
    fn an_error_has_a_place_for_the_engines() {
        assert_said("enum E { A }", &["the engine reports its own errors as this type, too, so it needs a place"]);
        assert_said("struct E;", &["the engine reports its own errors as this type, too: say what makes one"]);
        assert_said("union E { a: u8 }", &["a typed error is an enum or a struct"]);
        assert_said("#[relive(from = f)] enum E { A }", &[]);
        assert_said("#[relive(from = E::of)] struct E;", &[]);
        assert_said("enum E { #[relive(engine)] A { source: Error } }", &[]);
        assert_said("#[relive(from = f)] enum E { #[relive(engine)] A(Error) }", &["`engine` and `from` both"]);
        let two = "enum E { #[relive(engine)] A(Error), #[relive(engine)] B(Error) }";
        assert_said(two, &["one variant holds the engine's errors"]);
    }

    #[test]
    fn the_engines_variant_holds_its_error() {
        let none = "enum E { #[relive(engine)] A }";
        assert_said(none, &["`engine` marks a variant that holds a `relive::Error`", "the engine reports its own"]);
        assert_said("enum E { #[relive(engine)] A(#[from] Error) }", &["`TypedError` writes `From<relive::Error>`"]);
        assert_said("enum E { #[relive(engine, terminal)] A(Error) }", &["an error of the engine's says itself"]);
    }

    #[test]
    fn every_bad_setting_is_reported_at_once() {
        let item = "#[relive] #[relive(name = \"\", speed, name, crate(x), engine, terminal = true)] #[relive(from)]
            enum E<T> { #[relive(slow, terminal, terminal)] A(#[relive(engine)] T), #[relive(engine)] B(Error) }";
        assert_said(
            item,
            &[
                "`relive` takes settings in parentheses",
                "`name` is given twice",
                "`name` takes a string that is not empty",
                "unknown setting `speed`: on a type, #[relive] takes `name`, `terminal`, `from`, `crate`",
                "`crate` takes a path",
                "`engine` marks the variant",
                "`terminal` stands alone",
                "`from` takes a `fn(relive::Error) -> Self`",
                "a typed error has no parameters",
                "#[relive] goes on the type or on a variant",
                "`terminal` is given twice",
                "unknown setting `slow`: on a variant, #[relive] takes `engine`, `terminal`",
            ],
        );
        let twice = "#[relive(terminal)] enum E { #[relive(terminal)] A, #[relive(engine)] B(Error) }";
        assert_said(twice, &["the type is marked `terminal`"]);
    }
}
