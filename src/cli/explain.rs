//! `runbook explain CODE`.

use super::args::ExplainArgs;
use super::exit;
use super::output::Output;
use crate::base::suggest;
use crate::diag::{codes, did_you_mean};

pub(super) fn run(out: &mut Output, args: ExplainArgs) -> u8 {
    let Some(code) = args.code else {
        for explanation in codes::ALL {
            out.line(format_args!("{}  {}", explanation.code, explanation.title));
        }
        return exit::DONE;
    };
    match codes::find(&code) {
        Some(explanation) => {
            out.line(format_args!(
                "{}: {}\n\n{}",
                explanation.code, explanation.title, explanation.text
            ));
            exit::DONE
        }
        None => {
            let near = suggest::nearest(&code, codes::ALL.iter().map(|e| e.code.as_str()));
            let help = did_you_mean(near)
                .unwrap_or_else(|| "`runbook explain` lists all codes".to_owned());
            out.error(&format!("there is no diagnostic `{code}`"), Some(&help));
            exit::USAGE
        }
    }
}
