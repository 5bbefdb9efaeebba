//! Values that an author binds to a statement: sent as text, so that the server itself reads them as
//! whatever type the parameter has. And values that a server gave us to be given back.

use std::error::Error;

use bytes::{BufMut as _, BytesMut};
use serde_json::Value;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::session::Bound;

/// A value of an author's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgValue(Option<String>);

impl PgValue {
    /// From what an author wrote: null is NULL, a list is an array, a mapping is JSON.
    pub fn of(value: &Value) -> Self {
        Self(match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Array(items) => Some(array(items)),
            other => Some(other.to_string()),
        })
    }

    /// A parameter whose type is the server's to find out.
    pub fn bound(&self) -> Bound<'_> {
        (self, Type::UNKNOWN)
    }
}

/// An array as text: PostgreSQL's manual, "Array Input and Output Syntax".
fn array(items: &[Value]) -> String {
    let item = |item: &Value| match item {
        Value::Null => "NULL".to_owned(),
        Value::Array(items) => array(items),
        Value::String(text) => in_quotes(text),
        Value::Object(_) => in_quotes(&item.to_string()),
        other => other.to_string(),
    };
    let items: Vec<String> = items.iter().map(item).collect();
    format!("{{{}}}", items.join(","))
}

fn in_quotes(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl ToSql for PgValue {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match &self.0 {
            None => Ok(IsNull::Yes),
            Some(text) => {
                out.put_slice(text.as_bytes());
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// A value that a server gave us and that is given back to it as it is, whatever is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgOpaque(Type, Vec<u8>);

impl PgOpaque {
    /// As a parameter of the type that it came with.
    pub fn bound(&self) -> Bound<'_> {
        (self, self.0.clone())
    }
}

impl<'r> FromSql<'r> for PgOpaque {
    fn from_sql(ty: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(ty.clone(), raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for PgOpaque {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_slice(&self.1);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::PgValue;
    use serde_json::json;

    #[test]
    fn values_are_written_as_the_server_reads_them() {
        let text = |value| PgValue::of(&value).0;
        assert_eq!(text(json!(null)), None);
        assert_eq!(text(json!(true)).unwrap(), "true");
        assert_eq!(text(json!(1.5)).unwrap(), "1.5");
        assert_eq!(text(json!("it's")).unwrap(), "it's");
        let list = json!(["a", "b\"c\\d", null, 3, [1, 2]]);
        assert_eq!(text(list).unwrap(), r#"{"a","b\"c\\d",NULL,3,{1,2}}"#);
        assert_eq!(text(json!({"a": 1})).unwrap(), r#"{"a":1}"#);
    }
}
