//! What is called: filters and tests, with what they take and give.

use std::ops::Range;

use super::Checker;
use crate::base::suggest::nearest;
use crate::diag::{Diagnostic, codes, did_you_mean};
use crate::expr::library::{
    FILTERS, Filter, Gives, Passed, Secrets, TESTS, Takes, Test, filtered, item_of,
};
use crate::expr::tree::{Arguments, Node};
use crate::expr::types::{Type, quoted};
use crate::expr::typing::{self, Problem};

impl Checker<'_> {
    pub(super) fn filter(
        &mut self,
        filter: &'static Filter,
        input: &Node,
        arguments: &Arguments,
        node: &Node,
    ) -> Type {
        let ty = self.node(input);
        let types: Vec<Type> = arguments
            .iter()
            .map(|argument| self.node(argument))
            .collect();
        // The filter and its arguments, without what it is applied to.
        let own = self.after_pipe(input.range().end..node.range().end);
        self.check_arguments(filter, arguments, own.clone());
        let passed = Passed::new(arguments, &types);
        if !may_hold_secrets(filter, &ty, &passed) {
            self.problem(Problem::secret(&format!("`{}`", filter.name)), own);
            return Type::Any;
        }
        let secret = *ty.without_null() == Type::Secret;
        if !secret && !filter.takes.accepts(&ty) {
            self.refuse(filter, &ty, own);
            return Type::Any;
        }
        let item = self.item_checked(filter, &ty, (arguments, &passed), own);
        match (filter.gives, item) {
            (Gives::Mapped, Some(item)) => Type::list(item),
            (Gives::Sum, Some(item)) => filtered(filter, &Type::list(item), &passed),
            _ => filtered(filter, &ty, &passed),
        }
    }

    fn after_pipe(&self, range: Range<usize>) -> Range<usize> {
        let text = self.expr.text(range.clone());
        let name = text.find('|').map_or(text, |at| &text[at + 1..]);
        range.end - name.trim_start().len()..range.end
    }

    fn refuse(&mut self, filter: &Filter, ty: &Type, own: Range<usize>) {
        let problem = Problem::new(format!(
            "`{}` takes {}, not {}",
            filter.name,
            filter.takes.describe(),
            ty.without_null()
        ));
        let problem = match (filter.takes, ty.without_null()) {
            (Takes::Text, Type::Int | Type::Number | Type::Bool) => {
                problem.help("`…|string` writes a value as a text")
            }
            (Takes::Number, text) if text.is_text() => {
                problem.help("`…|int` or `…|float` reads a text as a number")
            }
            (Takes::Number, Type::List(_)) => {
                problem.help("`…|map('round')` applies a filter to each item")
            }
            (Takes::Text, Type::List(_)) => {
                problem.help("`…|map('upper')` applies a filter to each item")
            }
            _ => problem,
        };
        self.problem(problem, own);
    }

    fn check_arguments(&mut self, filter: &Filter, arguments: &Arguments, own: Range<usize>) {
        let (least, most) = filter.arguments;
        let given = arguments.positional.len();
        for (name, argument) in &arguments.named {
            if filter.named.contains(&&**name) {
                continue;
            }
            let message = format!("`{}` takes no argument `{name}`", filter.name);
            let near = did_you_mean(nearest(name, filter.named.iter().copied()));
            let diagnostic = Diagnostic::error(codes::EXPR_TYPE, message).maybe_help(near);
            let diagnostic = if filter.named.is_empty() {
                diagnostic
            } else {
                diagnostic.help(format!("it takes {}", quoted(filter.named.iter().copied())))
            };
            self.report(diagnostic, argument.range());
        }
        if given < least || given > most {
            let count = match (least, most) {
                (0, 0) => "no arguments without a name".to_owned(),
                (least, most) if least == most => format!("{least} arguments"),
                (0, most) => format!("at most {most} arguments"),
                (least, usize::MAX) => format!("at least {least} arguments"),
                (least, most) => format!("{least} to {most} arguments"),
            };
            let problem = Problem::new(format!("`{}` takes {count}, not {given}", filter.name));
            self.problem(problem, own);
        }
    }

    /// Checks the names in the arguments, of a field or of what is applied to each item, and gives
    /// the type of what that yields for each.
    fn item_checked(
        &mut self,
        filter: &Filter,
        ty: &Type,
        (arguments, passed): (&Arguments, &Passed<'_>),
        own: Range<usize>,
    ) -> Option<Type> {
        let item = item_of(ty);
        let field = arguments.get(filter.attribute, "attribute");
        let by_field = filter.attribute.is_some() || filter.named.contains(&"attribute");
        if let (true, Some(path), Some(node)) = (by_field, field.and_then(Node::text), field) {
            let ty = self.field_path(&item, path, node);
            self.check_items(filter, &ty, own);
            if let ("selectattr" | "rejectattr", Some(test)) =
                (filter.name, arguments.positional.get(1))
                && let Some(name) = test.text()
            {
                self.named_test(name, test, &ty, arguments.positional.get(2));
            }
            return Some(match arguments.get(None, "default") {
                Some(default) => ty.join(&self.node(default)),
                None => ty,
            });
        }
        self.check_items(filter, &item, own.clone());
        let first = arguments.positional.first()?;
        let name = first.text()?;
        match filter.name {
            "map" => {
                let Some(inner) = Filter::find(name) else {
                    let names = FILTERS.iter().map(|filter| filter.name);
                    self.unknown("filter", name, names, first);
                    return None;
                };
                let others = passed.to_inner();
                if !may_hold_secrets(inner, &item, &others) {
                    self.problem(Problem::secret(&format!("`{name}`")), own);
                    return None;
                }
                if item != Type::Secret && !inner.takes.accepts(&item) {
                    self.refuse(inner, &item, first.range());
                    return None;
                }
                Some(filtered(inner, &item, &others))
            }
            "select" | "reject" => {
                self.named_test(name, first, &item, arguments.positional.get(1));
                None
            }
            _ => None,
        }
    }

    /// Checks that what is summed up, or put in order, can be.
    fn check_items(&mut self, filter: &Filter, item: &Type, own: Range<usize>) {
        let item = item.without_null();
        let fine = match filter.takes {
            Takes::Numbers => item.is_number(),
            Takes::Ordered => item.is_number() || item.is_text(),
            _ => true,
        };
        if !fine && *item != Type::Any {
            self.refuse(filter, &Type::list(item.clone()), own);
        }
    }

    /// The type of a field of each item, by its dotted path, or by several with commas.
    fn field_path(&mut self, item: &Type, path: &str, node: &Node) -> Type {
        let mut joined: Option<Type> = None;
        for one in path.split(',') {
            let mut ty = item.clone();
            for name in one.trim().split('.') {
                ty = match ty.without_null() {
                    Type::List(item) if name.parse::<usize>().is_ok() => (**item).clone(),
                    _ => self.field(&ty, name, node.range()),
                };
            }
            joined = Some(joined.map_or(ty.clone(), |all| all.join(&ty)));
        }
        joined.unwrap_or(Type::Any)
    }

    fn named_test(&mut self, name: &str, node: &Node, item: &Type, other: Option<&Node>) {
        let Some(test) = Test::find(name) else {
            self.unknown("test", name, TESTS.iter().map(|test| test.name), node);
            return;
        };
        if let (Some(op), Some(other)) = (test.operator, other) {
            let other = self.node(other);
            let ty = typing::binary(op, item, &other);
            self.settle(ty, node);
        }
    }

    fn unknown(
        &mut self,
        what: &str,
        name: &str,
        names: impl Iterator<Item = &'static str>,
        node: &Node,
    ) {
        let diagnostic = Diagnostic::error(
            codes::EXPR_UNKNOWN_FILTER,
            format!("there is no {what} `{name}`"),
        );
        let near = did_you_mean(nearest(name, names));
        self.report(diagnostic.maybe_help(near), node.range());
    }

    pub(super) fn test(
        &mut self,
        test: &'static Test,
        input: &Node,
        arguments: &Arguments,
        node: &Node,
    ) -> Type {
        let ty = self.node(input);
        let types: Vec<Type> = arguments
            .iter()
            .map(|argument| self.node(argument))
            .collect();
        if types.len() != test.arguments || !arguments.named.is_empty() {
            let problem = Problem::new(match test.arguments {
                0 => format!("the test `{}` takes no argument", test.name),
                _ => format!("the test `{}` takes one argument", test.name),
            });
            self.problem(problem, node.range());
            return Type::Bool;
        }
        if test.of_presence {
            return Type::Bool;
        }
        if ty.contains_secret() || types.iter().any(Type::contains_secret) {
            let problem = Problem::secret(&format!("`is {}`", test.name));
            self.problem(problem, node.range());
            return Type::Bool;
        }
        if let (Some(op), Some(argument), Some(other)) =
            (test.operator, arguments.positional.first(), types.first())
        {
            self.binary(op, (input, &ty), (argument, other), node);
        }
        Type::Bool
    }
}

/// Whether a filter tells nothing of the secrets that it is given.
fn may_hold_secrets(filter: &Filter, input: &Type, passed: &Passed<'_>) -> bool {
    match filter.secrets {
        Secrets::Never => !input.contains_secret() && !passed.contain_secret(),
        Secrets::IntoText => true,
        Secrets::Inside => *input.without_null() != Type::Secret,
    }
}
