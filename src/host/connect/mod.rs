//! Named connections: declared once in a playbook or its project file, opened where a step needs
//! them.
//!
//! One file a kind. A kind states its configuration as a Rust type, from which its decoder, the JSON
//! Schema and the reference come. Adding a kind is one file and one line in [`KINDS`].

pub mod postgres;
pub mod redis;

use std::any::Any;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::HostError;

/// A kind of connection, such as `postgres`.
pub trait ConnectionKind: Send + Sync + 'static {
    /// Its name, as in `connections: { main: { postgres: {…} } }` and in `x-runbook:
    /// connection:postgres`.
    const NAME: &'static str;

    /// What its declaration holds.
    type Config: DeserializeOwned + schemars::JsonSchema;

    /// Whatever the types of the fields cannot say: a URL that is none. What it says must not
    /// repeat a secret.
    ///
    /// # Errors
    /// One sentence: what is wrong with it.
    fn check(config: &Self::Config) -> Result<(), String> {
        let _ = config;
        Ok(())
    }
}

/// Every kind of connection.
pub const KINDS: &[&dyn AnyKind] = &[
    &Entry::<postgres::Postgres>(PhantomData),
    &Entry::<redis::Redis>(PhantomData),
];

/// A kind of connection, without its types.
pub trait AnyKind: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// The schema of its declaration, with everything inline.
    fn schema(&self) -> Value;
    /// Whether `config` decodes.
    ///
    /// # Errors
    /// Why it does not.
    fn check(&self, config: &Value) -> Result<(), String>;
}

/// The entry of kind `K` in the list.
#[derive(Debug)]
pub struct Entry<K>(PhantomData<fn() -> K>);

impl<K: ConnectionKind> AnyKind for Entry<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn schema(&self) -> Value {
        inline_schema::<K::Config>()
    }

    fn check(&self, config: &Value) -> Result<(), String> {
        let config = serde_json::from_value::<K::Config>(config.clone());
        K::check(&config.map_err(|error| error.to_string())?)
    }
}

/// The JSON Schema of `T`, without references.
pub fn inline_schema<T: schemars::JsonSchema>() -> Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

/// The kind called `name`.
pub fn kind(name: &str) -> Option<&'static dyn AnyKind> {
    KINDS.iter().copied().find(|kind| kind.name() == name)
}

/// A field of a step's configuration that names a connection of kind `K`.
pub struct Conn<K> {
    /// The name under `connections:`.
    pub name: String,
    kind: PhantomData<fn() -> K>,
}

impl<K> Conn<K> {
    /// The connection called `name`.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: PhantomData,
        }
    }
}

impl<K> std::fmt::Debug for Conn<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Conn").field(&self.name).finish()
    }
}

impl<K> Clone for Conn<K> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            kind: PhantomData,
        }
    }
}

impl<'de, K> serde::Deserialize<'de> for Conn<K> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self {
            name: String::deserialize(deserializer)?,
            kind: PhantomData,
        })
    }
}

impl<K: ConnectionKind> schemars::JsonSchema for Conn<K> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Conn_{}", K::NAME).into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": format!("The name of a `{}` connection", K::NAME),
            "x-runbook": format!("connection:{}", K::NAME),
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// What a run keeps of a connection from one step to the next, such as its open sessions.
pub trait Kept: Any + Send + Sync + std::fmt::Debug {
    /// Ends it, within a moment.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + '_>>;
}

/// The connections of a run: kind and evaluated declaration, by name. They hold secrets, so they
/// are never printed.
#[derive(Clone, Default)]
pub struct Connections {
    declared: Arc<IndexMap<String, (&'static str, Value)>>,
    kept: Arc<Mutex<HashMap<String, Arc<dyn Kept>>>>,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.declared.keys()).finish()
    }
}

impl Connections {
    /// From name, kind and evaluated declaration.
    pub fn new(declared: impl IntoIterator<Item = (String, &'static str, Value)>) -> Self {
        let declared = declared.into_iter();
        let declared = declared.map(|(name, kind, value)| (name, (kind, value)));
        Self {
            declared: Arc::new(declared.collect()),
            kept: Arc::default(),
        }
    }

    /// What is kept of the connection called `name`, which is of one kind and so of one `T`.
    fn kept<T: Kept>(&self, name: &str, make: impl Fn() -> T) -> Arc<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept
            .get(name)
            .map(|known| Arc::clone(known) as Arc<dyn Any + Send + Sync>);
        if let Some(known) = known.and_then(|known| known.downcast().ok()) {
            return known;
        }
        let made = Arc::new(make());
        kept.insert(name.to_owned(), Arc::clone(&made) as Arc<dyn Kept>);
        made
    }

    /// Ends what is kept, when the run has ended.
    pub async fn close(&self) {
        let kept = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *kept)
        };
        for kept in kept.values() {
            kept.close().await;
        }
    }

    /// The declaration that `conn` names.
    ///
    /// # Errors
    /// When there is none of this kind, or it does not decode.
    pub fn get<K: ConnectionKind>(&self, conn: &Conn<K>) -> Result<K::Config, HostError> {
        let action = || format!("use connection `{}`", conn.name);
        let (kind, value) = self
            .declared
            .get(&conn.name)
            .ok_or_else(|| HostError::permanent(action(), "it is not declared"))?;
        if *kind != K::NAME {
            let cause = format!("it is a {kind} connection, and this step needs {}", K::NAME);
            return Err(HostError::permanent(action(), cause));
        }
        let config = serde_json::from_value(value.clone())
            .map_err(|error| HostError::permanent(action(), error.to_string()))?;
        K::check(&config).map_err(|cause| HostError::permanent(action(), cause))?;
        Ok(config)
    }
}
