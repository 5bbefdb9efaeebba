//! Which secrets and connections a program really uses: only those are read, and only those must be
//! there.

use std::collections::BTreeSet;

use crate::expr::Reference;
use crate::model::{Lock, Playbook, Step, Tree};
use crate::step::Registry;
use crate::step::shape::{Shape, TextKind};

/// What a program uses, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    pub secrets: BTreeSet<String>,
    pub connections: BTreeSet<String>,
}

impl Usage {
    pub fn of(playbook: &Playbook, registry: &Registry) -> Self {
        let mut usage = Self::default();
        let mut vars = BTreeSet::new();
        for step in playbook.steps.iter().chain(&playbook.finally) {
            usage.step(playbook, registry, step, &mut vars);
        }
        usage.lock(playbook, playbook.lock.as_ref(), &mut vars);
        for report in &playbook.reports {
            report
                .path
                .references()
                .for_each(|r| usage.read(playbook, r, &mut vars));
        }
        usage
    }

    fn step(
        &mut self,
        playbook: &Playbook,
        registry: &Registry,
        step: &Step,
        vars: &mut BTreeSet<String>,
    ) {
        let message = step.approval.iter().flat_map(|approval| &approval.message);
        let texts = { step.name.iter() }
            .chain(message)
            .chain(step.lock.iter().flat_map(|lock| &lock.key))
            .flat_map(|text| text.references());
        let asked = step.approval.iter().flat_map(|approval| &approval.when);
        let expected = step.verify.iter().map(|verify| &verify.expect);
        let conditions = { step.when.iter() }
            .chain(asked)
            .chain(expected)
            .flat_map(|when| when.references());
        for reference in texts.chain(conditions) {
            self.read(playbook, reference, vars);
        }
        self.lock(playbook, step.lock.as_ref(), vars);
        self.tree(playbook, &step.config, vars);
        if let Some(foreach) = &step.foreach {
            self.tree(playbook, &foreach.list, vars);
        }
        let within = { step.verify.iter() }
            .map(|verify| &verify.probe)
            .chain(&step.undo);
        for inner in within {
            self.tree(playbook, &inner.config, vars);
            self.connections(playbook, registry, inner.ty.name(), &inner.config, vars);
        }
        self.connections(playbook, registry, step.ty.name(), &step.config, vars);
    }

    /// The connection where a lock is taken.
    fn lock(&mut self, playbook: &Playbook, lock: Option<&Lock>, vars: &mut BTreeSet<String>) {
        if let Some(name) = lock.and_then(|lock| lock.connection.as_ref()) {
            self.connection(playbook, Named::This(&name.value), vars);
        }
    }

    /// The connections that a configuration of type `ty` names.
    fn connections(
        &mut self,
        playbook: &Playbook,
        registry: &Registry,
        ty: &str,
        config: &Tree,
        vars: &mut BTreeSet<String>,
    ) {
        let shape = registry.shape(ty).map(Shape::fields).unwrap_or_default();
        for field in shape {
            if matches!(field.shape, Shape::Text(TextKind::Connection(_))) {
                self.connection(playbook, named(config, &field.name), vars);
            }
        }
    }

    /// A connection that is named by an expression may be any of them.
    fn connection(&mut self, playbook: &Playbook, name: Named<'_>, vars: &mut BTreeSet<String>) {
        let names: Vec<&String> = match name {
            Named::Nothing => Vec::new(),
            Named::This(name) => playbook.connections.keys().filter(|k| *k == name).collect(),
            Named::Any => playbook.connections.keys().collect(),
        };
        for name in names {
            if self.connections.insert(name.clone()) {
                self.tree(playbook, &playbook.connections[name].config, vars);
            }
        }
    }

    fn tree(&mut self, playbook: &Playbook, tree: &Tree, vars: &mut BTreeSet<String>) {
        for reference in tree.references() {
            self.read(playbook, reference, vars);
        }
    }

    fn read(&mut self, playbook: &Playbook, reference: &Reference, vars: &mut BTreeSet<String>) {
        let name = reference.fields().first();
        match (reference.root(), name) {
            ("secrets", Some(name)) => {
                self.secrets.insert(name.to_string());
            }
            ("secrets", None) => self.secrets.extend(playbook.secrets.keys().cloned()),
            ("vars", Some(name)) => self.var(playbook, name, vars),
            ("vars", None) => {
                for name in playbook.vars.keys() {
                    self.var(playbook, name, vars);
                }
            }
            _ => {}
        }
    }

    fn var(&mut self, playbook: &Playbook, name: &str, vars: &mut BTreeSet<String>) {
        if let Some(var) = playbook.vars.get(name)
            && vars.insert(name.to_owned())
        {
            self.tree(playbook, &var.value, vars);
        }
    }
}

/// The value of a field that names a connection.
enum Named<'a> {
    Nothing,
    This(&'a str),
    Any,
}

fn named<'a>(config: &'a Tree, field: &str) -> Named<'a> {
    let known = |value: Option<&'a serde_json::Value>| match value.and_then(|v| v.as_str()) {
        Some(name) => Named::This(name),
        None => Named::Nothing,
    };
    match config {
        Tree::Known(value) => known(value.get(field)),
        Tree::Map(entries) => match entries.iter().find(|(name, _)| name == field) {
            Some((_, Tree::Known(value))) => known(Some(value)),
            Some(_) => Named::Any,
            None => Named::Nothing,
        },
        _ => Named::Any,
    }
}
