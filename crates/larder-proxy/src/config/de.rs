//! Parses the values of a configuration into its types.
//!
//! Beyond TOML, it replaces environment variables (see `variables`), reads a single text where a
//! list is expected, and adds to each error the line and the key.

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, EnumAccess, Error as _, IntoDeserializer as _, MapAccess, SeqAccess, Visitor,
        value::StrDeserializer,
    },
    forward_to_deserialize_any,
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{error::ConfigError, source::Lines, variables::expand};

/// What all values of one text need.
pub(super) struct Document<'a> {
    pub(super) lines: &'a Lines,
    /// Returns the value of an environment variable.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
}

/// A value that is parsed.
#[derive(Clone, Copy)]
pub(super) struct ValueParser<'a> {
    pub(super) document: &'a Document<'a>,
    pub(super) value: &'a Spanned<DeValue<'a>>,
}

/// The whole text, or a table of it.
#[derive(Clone, Copy)]
pub(super) struct TableParser<'a> {
    pub(super) document: &'a Document<'a>,
    pub(super) table: &'a DeTable<'a>,
}

impl<'a> ValueParser<'a> {
    /// Returns the line of the value.
    fn line(&self) -> Option<usize> {
        Some(self.document.lines.at(self.value.span().start))
    }

    /// Parses a text, with its variables replaced.
    fn visit_text<'de, V: Visitor<'de>>(self, text: &str, visitor: V) -> Result<V::Value, ConfigError> {
        let (text, _) = expand(text, self.document.variable).map_err(ConfigError::custom)?;
        visitor.visit_str(&text)
    }

    /// Parses a number or truth value, also one that a variable contains.
    fn visit_scalar<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError>
    where
        'a: 'de,
    {
        let DeValue::String(text) = self.value.get_ref() else { return self.deserialize_any(visitor) };
        let (text, is_variable) = expand(text, self.document.variable).map_err(ConfigError::custom)?;
        match (text.parse::<i64>(), text.parse::<bool>()) {
            (Ok(number), _) if is_variable => visitor.visit_i64(number),
            (_, Ok(truth)) if is_variable => visitor.visit_bool(truth),
            _ => visitor.visit_str(&text),
        }
    }
}

impl<'de, 'a: 'de> Deserializer<'de> for ValueParser<'a> {
    type Error = ConfigError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.value.get_ref() {
            DeValue::String(text) => self.visit_text(text, visitor),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => visitor.visit_i64(number),
                Err(_) => Err(ConfigError::custom(format!("the number {number} is too large"))),
            },
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => Err(ConfigError::custom(format!("the number {number} is invalid"))),
            },
            DeValue::Boolean(truth) => visitor.visit_bool(*truth),
            DeValue::Datetime(time) => visitor.visit_string(time.to_string()),
            DeValue::Array(_) => self.deserialize_seq(visitor),
            DeValue::Table(table) => TableParser { document: self.document, table }.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.value.get_ref() {
            DeValue::Array(values) => {
                let values: Vec<_> = values.iter().map(|value| Self { value, ..self }).collect();
                visitor.visit_seq(Elements { values: values.into_iter(), index: Some(0) })
            }
            DeValue::String(_) => visitor.visit_seq(Elements { values: vec![self].into_iter(), index: None }),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        match self.value.get_ref() {
            DeValue::String(text) => {
                let (text, _) = expand(text, self.document.variable).map_err(ConfigError::custom)?;
                let name: StrDeserializer<'_, ConfigError> = (&*text).into_deserializer();
                visitor.visit_enum(Name(name))
            }
            // The error names the type.
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.visit_scalar(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.visit_scalar(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.visit_scalar(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.visit_scalar(visitor)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct map struct identifier ignored_any
    }
}

impl<'de, 'a: 'de> Deserializer<'de> for TableParser<'a> {
    type Error = ConfigError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        let mut entries: Vec<_> = self.table.iter().collect();
        // The first error is the first one in the text.
        entries.sort_by_key(|(key, _)| key.span().start);
        visitor.visit_map(Entries { document: self.document, entries: entries.into_iter(), value: None })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The name of a variant of an enum.
struct Name<'t>(StrDeserializer<'t, ConfigError>);

impl<'de> EnumAccess<'de> for Name<'_> {
    type Error = ConfigError;
    type Variant = UnitOnly;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, UnitOnly), ConfigError> {
        Ok((seed.deserialize(self.0)?, UnitOnly))
    }
}

/// A variant without content, since each enum of a configuration is a choice among words.
struct UnitOnly;

impl<'de> serde::de::VariantAccess<'de> for UnitOnly {
    type Error = ConfigError;

    fn unit_variant(self) -> Result<(), ConfigError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, ConfigError> {
        Err(ConfigError::custom("the value has no content"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, ConfigError> {
        Err(ConfigError::custom("the value has no content"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, ConfigError> {
        Err(ConfigError::custom("the value has no content"))
    }
}

/// The values of a list.
struct Elements<'a> {
    values: std::vec::IntoIter<ValueParser<'a>>,
    /// The position of the next value; `None` for a single text in place of a list.
    index: Option<usize>,
}

impl<'de, 'a: 'de> SeqAccess<'de> for Elements<'a> {
    type Error = ConfigError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ConfigError> {
        let Some(parser) = self.values.next() else { return Ok(None) };
        let place = self.index.map_or_else(String::new, |index| format!("[{index}]"));
        self.index = self.index.map(|index| index + 1);
        seed.deserialize(parser).map(Some).map_err(|error| error.within(&place).at(parser.line()))
    }
}

/// The keys and values of a table.
struct Entries<'a> {
    document: &'a Document<'a>,
    entries: std::vec::IntoIter<(&'a Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>)>,
    /// The value of the key that was read last.
    value: Option<(&'a str, ValueParser<'a>)>,
}

impl<'de, 'a: 'de> MapAccess<'de> for Entries<'a> {
    type Error = ConfigError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ConfigError> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some((key.get_ref(), ValueParser { document: self.document, value }));
        let name: StrDeserializer<'_, ConfigError> = key.get_ref().as_ref().into_deserializer();
        let line = || Some(self.document.lines.at(key.span().start));
        seed.deserialize(name).map(Some).map_err(|error| error.within(key.get_ref()).at(line()))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ConfigError> {
        let (key, parser) = self.value.take().ok_or_else(|| ConfigError::custom("a value without a key"))?;
        seed.deserialize(parser).map_err(|error| error.within(key).at(parser.line()))
    }
}
