//! What is called: filters, tests, and the one function.

use minijinja::machinery::ast::{self, CallArg};

use super::{Lowered, Lowering};
use crate::base::suggest::nearest;
use crate::diag::{Diagnostic, codes, did_you_mean};
use crate::expr::library::{FILTERS, Filter, TESTS, Test};
use crate::expr::tree::{Arguments, Kind};

impl Lowering<'_> {
    pub(super) fn filter(&self, name: &str, start: u32) -> Lowered<&'static Filter> {
        Filter::find(name).ok_or_else(|| {
            let near = nearest(name, FILTERS.iter().map(|filter| filter.name));
            let diagnostic = self.unknown("filter", name, start);
            Box::new(diagnostic.maybe_help(did_you_mean(near)))
        })
    }

    pub(super) fn test(&self, name: &str, start: u32) -> Lowered<&'static Test> {
        Test::find(name).ok_or_else(|| {
            let near = nearest(name, TESTS.iter().map(|test| test.name));
            let diagnostic = self
                .unknown("test", name, start)
                .maybe_help(did_you_mean(near));
            let otherwise = match name {
                "empty" | "blank" => Some("`…|length == 0` asks whether nothing is in it"),
                "null" | "nil" => Some("`… is none` asks whether there is nothing"),
                _ if near.is_none() => Some("`==` asks whether two values are equal"),
                _ => None,
            };
            let otherwise = otherwise.map(str::to_owned);
            Box::new(diagnostic.maybe_help(otherwise))
        })
    }

    fn unknown(&self, what: &str, name: &str, start: u32) -> Diagnostic {
        let start = start as usize;
        Diagnostic::error(
            codes::EXPR_UNKNOWN_FILTER,
            format!("there is no {what} `{name}`"),
        )
        .at(self.place.span(start..start + name.len()))
    }

    pub(super) fn arguments(&mut self, args: &[CallArg<'_>]) -> Lowered<Arguments> {
        let mut arguments = Arguments::default();
        for arg in args {
            match arg {
                CallArg::Pos(tree) => arguments.positional.push(self.node(tree)?),
                CallArg::Kwarg(name, tree) => {
                    let node = self.node(tree)?;
                    arguments.named.push(((*name).into(), node));
                }
                CallArg::PosSplat(tree) | CallArg::KwargSplat(tree) => {
                    let span = tree.span();
                    let range = span.start_offset as usize..span.end_offset as usize;
                    let message = "arguments are written one by one, without `*`";
                    return Err(self.refuse(message, range, None));
                }
            }
        }
        Ok(arguments)
    }

    pub(super) fn call(&mut self, call: &ast::Call<'_>) -> Lowered<Kind> {
        let (name, start, method) = match &call.expr {
            ast::Expr::Var(var) => (var.id, var.span().start_offset as usize, false),
            ast::Expr::GetAttr(attribute) => {
                let end = attribute.span().end_offset as usize;
                (attribute.name, end - attribute.name.len(), true)
            }
            other => {
                let span = other.span();
                let range = span.start_offset as usize..span.end_offset as usize;
                return Err(self.refuse("this cannot be called", range, None));
            }
        };
        if name == "range" && !method {
            let arguments = self.arguments(&call.args)?;
            if arguments.named.is_empty() && matches!(arguments.positional.len(), 1..=3) {
                return Ok(Kind::Range(arguments.positional));
            }
            return Err(self.refuse(
                "`range` takes one to three whole numbers",
                start..start + name.len(),
                Some("`range(5)` is 0 to 4, `range(2, 5)` is 2 to 4, `range(0, 10, 2)` is 0 to 8"),
            ));
        }
        let (what, help) = if method {
            (
                "method",
                "values have no methods; filters do what methods do elsewhere",
            )
        } else {
            (
                "function",
                "the one function is `range`; filters do the rest",
            )
        };
        let diagnostic = self.unknown(what, name, start as u32);
        Err(Box::new(match instead_of(name) {
            Some(instead) => diagnostic.help(format!("write {instead}")),
            None => diagnostic.help(help),
        }))
    }
}

/// What is written here for a function or method of other languages.
fn instead_of(name: &str) -> Option<String> {
    let text = match name {
        "len" | "size" | "count" => "`…|length`",
        "str" | "toString" | "to_s" => "`…|string`",
        "parseInt" => "`…|int`",
        "parseFloat" => "`…|float`",
        "startswith" | "startsWith" | "starts_with" => "`… is startingwith('a')`",
        "endswith" | "endsWith" | "ends_with" => "`… is endingwith('a')`",
        "contains" | "includes" | "has" => "`'a' in …`",
        "get" => "`….name|default('…')`",
        "strip" => "`…|trim`",
        "toUpperCase" => "`…|upper`",
        "toLowerCase" => "`…|lower`",
        "toJSON" | "toJson" => "`…|tojson`",
        "keys" => "`…|list`",
        "always" | "success" | "failure" => "`run.status`, or put the step under `finally`",
        _ => return Filter::find(name).map(|filter| format!("`…|{}`", filter.name)),
    };
    Some(text.to_owned())
}
