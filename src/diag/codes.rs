//! The one list of diagnostic codes: `runbook explain CODE` prints from here.
//!
//! Families: 1xx the YAML text, 2xx the shape of a playbook, 3xx steps and their order, 4xx
//! expressions, 5xx the configuration of step types, 6xx parameters, secrets and connections, 7xx
//! warnings about style and safety, 8xx files and the project, 9xx tests of playbooks.

use std::fmt;

/// A diagnostic's code, such as `RB301`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(&'static str);

impl Code {
    /// As text.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What `runbook explain` says of a code.
#[derive(Clone, Copy, Debug)]
pub struct Explanation {
    /// The code.
    pub code: Code,
    /// What it is about, in a few words.
    pub title: &'static str,
    /// Why it is so, and what to do; Markdown.
    pub text: &'static str,
}

macro_rules! codes {
    ($($name:ident $code:literal $title:literal $text:literal;)*) => {
        $(
            #[doc = $title]
            pub const $name: Code = Code($code);
        )*
        /// Every code, in order.
        pub const ALL: &[Explanation] = &[
            $(Explanation { code: $name, title: $title, text: $text },)*
        ];
    };
}

/// The explanation of `text`, in any case, if it is a code.
pub fn find(text: &str) -> Option<&'static Explanation> {
    ALL.iter().find(|e| e.code.0.eq_ignore_ascii_case(text))
}

codes! {
    YAML_SYNTAX "RB101" "the text is not YAML"
        "The parser could not read the text as YAML 1.2. The place is where it gave up; the cause is \
         there or a little before it. Frequent causes: a tab used to indent (YAML allows spaces \
         alone), a missing space after `:`, a quote that is never closed, a line that is indented \
         less than its neighbours.";
    YAML_DUPLICATE_KEY "RB102" "a key stands twice in one mapping"
        "Other tools silently take the last one. A playbook in which one of two values is ignored \
         is never what was meant: remove one of them.";
    YAML_DOCUMENTS "RB103" "more than one document in a file"
        "A playbook is one YAML document. Put the part after `---` into a file of its own.";
    YAML_BUDGET "RB104" "the text is larger or deeper than a playbook may be"
        "Texts are limited in size, depth, length of one scalar and number of nodes that aliases \
         expand to, so that a hostile or broken file cannot exhaust the machine. Move large data \
         into a file that a step reads.";
    YAML_EMPTY "RB105" "the file is empty"
        "A playbook starts with `runbook: v1`. `runbook init` writes one to begin with.";
    YAML_ENCODING "RB106" "the file is not UTF-8"
        "Playbooks are UTF-8 texts. The place is the first byte that is not. Save the file as UTF-8.";
    YAML_KEY "RB107" "a mapping key that is not a text"
        "Keys of a mapping are plain texts here; sequences and mappings as keys are not used.";
    YAML_TAG "RB108" "a YAML tag that is not known here"
        "Tags such as `!include` or `!vault` are not part of the language. Values have the type \
         that the field asks for; secrets are declared under `secrets:`.";
    YAML_ALIAS "RB109" "an alias without its anchor"
        "`*name` repeats what `&name` marked earlier in the same document.";

    NOT_A_PLAYBOOK "RB201" "the file does not start as a playbook"
        "The first key of a playbook is `runbook: v1`; of a project file, `runbook-project: v1`. It \
         marks the language version, so that a later engine still reads the file rightly.";
    UNKNOWN_KEY "RB202" "a key that is not known here"
        "Unknown keys are errors: a typing mistake must never be a setting that is silently ignored.";
    WRONG_TYPE "RB203" "a value of the wrong type"
        "The field takes another type of value. `runbook steps TYPE` shows what each field takes.";
    MISSING_KEY "RB204" "a key that must be there is missing"
        "The field has no default.";
    BAD_VALUE "RB205" "a value that the field does not take"
        "The type is right, but not this value: it is out of range, or not one of those allowed.";
    STEP_TYPE_COUNT "RB206" "a step without exactly one type"
        "A step has exactly one key with a dot in it, its type, such as `exec.command`. Two things \
         to do are two steps.";
    UNKNOWN_STEP_TYPE "RB207" "a step type that does not exist"
        "`runbook steps` lists all of them.";
    RESERVED_KEY "RB208" "a key that is reserved for a later version"
        "`target` and `call` will come; until then they are refused, so that no playbook means \
         something else tomorrow.";
    BAD_NAME "RB209" "a name that does not have the shape of one"
        "Ids of steps and names of parameters, variables, secrets and connections are \
         `[a-z][a-z0-9_]{0,39}`, so that they can be used in expressions as they are.";

    DUPLICATE_STEP "RB301" "two steps with the same id"
        "Expressions, reports and `needs` name steps by their id: it must be unique in the playbook, \
         `finally` included.";
    UNKNOWN_STEP "RB302" "a step that does not exist"
        "`needs` and `steps.<id>` name steps of the same playbook.";
    CYCLE "RB303" "steps that wait for each other"
        "The order of steps is a graph without cycles. It comes from `needs`, from the order of the \
         lines (a step without `needs` waits for all above it), and from every `steps.<id>` in an \
         expression. The message shows the way round; take one of its arrows out.";
    NOT_BEFORE "RB304" "the result of a step that runs later"
        "An expression can only read steps that are over when it is evaluated.";
    MAYBE_SKIPPED "RB305" "an output of a step that may be skipped"
        "A skipped step has no outputs. Test `steps.<id>.status == 'succeeded'` in the expression, \
         or in the `when` of the step that reads it.";
    NEEDS_FINALLY "RB306" "a main step that needs a `finally` step"
        "`finally` steps run after all main steps; a main step cannot wait for one.";
    SELF_REFERENCE "RB307" "a step that refers to itself"
        "A step's own result is not there before it ends. The one exception is its own `preview` \
         in its own `approval`.";

    EXPR_SYNTAX "RB401" "an expression that cannot be read"
        "Expressions are minijinja (Jinja2) expressions, as in `steps.a.outputs.rows > 3 and not \
         params.force`.";
    EXPR_UNKNOWN_NAME "RB402" "a name that does not exist"
        "The roots are `params`, `vars`, `secrets`, `steps`, `run`, and in a `foreach` step the \
         `as:` name and `loop`. An environment variable is declared as a parameter with \
         `from_env:`, or as a secret.";
    EXPR_UNKNOWN_FIELD "RB403" "a field that the value does not have"
        "Outputs of steps are typed; `runbook steps TYPE` lists them.";
    EXPR_TYPE "RB404" "an expression of the wrong type"
        "The field, operator or filter takes another type.";
    EXPR_UNKNOWN_FILTER "RB405" "a filter, test or function that does not exist"
        "The language has minijinja's built-in filters and tests.";
    EXPR_IN_CODE "RB406" "an expression inside a script or SQL text"
        "Scripts and SQL are never templates: a value that is pasted into code can become code. \
         Pass it as an environment variable (`env: { NAME: \"${{ … }}\" }`, then `$NAME` in the \
         script) or as a bound parameter (`bind: [\"${{ … }}\"]`, then `$1` in the SQL).";
    EXPR_SECRET "RB407" "a secret that flows where it may not"
        "Secrets flow into fields that are declared to take one and into `env:`, and nowhere else, \
         so that they cannot end in an argument list, a report or a file name.";
    EXPR_UNTERMINATED "RB408" "an expression that is never closed"
        "`${{` needs its `}}`. To write the characters themselves: `${{ '${{' }}`.";
    EXPR_FLOW_STYLE "RB409" "an expression in flow style without quotes"
        "Inside `{…}` and `[…]`, YAML reads `{`, `}` and `,` as its own. Quote the value.";
    EXPR_NOT_HERE "RB410" "an expression where none is taken"
        "This field is read before anything is evaluated: it needs a plain value.";

    BAD_CONFIG "RB501" "a configuration that the step type refuses"
        "The fields have the right types, but together they make no sense; the message says why.";
    UNKNOWN_CONNECTION "RB502" "a connection that is not declared"
        "Connections are declared under `connections:` of the playbook or of its project file \
         `runbook.yaml`.";
    WRONG_CONNECTION_KIND "RB503" "a connection of another kind"
        "The step type needs a connection of the kind that the message names.";
    EFFECT_LOOSENED "RB504" "an effect or repeat class that may not be loosened here"
        "`effect` and `repeat` may be tightened on any step, and loosened on generic ones \
         (`exec.*`, `http.request`), where only the author knows what is done; the audit records \
         who claimed it.";

    UNKNOWN_PARAM "RB601" "a parameter that is not declared"
        "`runbook show PLAYBOOK` lists the parameters.";
    BAD_PARAM "RB602" "a parameter's value that its declaration refuses"
        "The declaration says type, range and pattern.";
    MISSING_PARAM "RB603" "a parameter without a value"
        "It has no default: give it with `-p NAME=VALUE`, `--params-file`, or the environment \
         variable `RUNBOOK_PARAM_<NAME>`.";
    VARS_CYCLE "RB604" "variables that refer to each other in a circle"
        "The message shows the way round.";
    SECRET_UNAVAILABLE "RB605" "a secret that cannot be read"
        "Its environment variable is not set, its file cannot be read, or its command failed. \
         Nothing runs before all secrets that are used can be had.";

    UNUSED_PARAM "RB701" "a parameter that nothing uses"
        "Remove it, or use it.";
    UNUSED_SECRET "RB702" "a secret that nothing uses"
        "Remove it: what is not declared cannot leak.";
    TIMEOUT_ORDER "RB703" "a timeout that never takes effect"
        "A step's timeout that is longer than the run's can never pass.";
    SHELL_IN_COMMAND "RB704" "shell syntax in a command"
        "`exec.command` starts the program itself, without a shell: `|`, `>`, `&&` and `$NAME` are \
         handed to it as they are. Use `exec.script` or `exec.pipeline`.";
    CONSTANT_WHEN "RB705" "a condition that is always the same"
        "It refers to nothing that can change.";
    ALLOWED_DESTROY "RB706" "a destructive step whose failure is allowed"
        "`on_error: continue` lets later steps run after a destructive step that failed half-way.";
    FIXED_REPORT "RB707" "a report that the next run overwrites"
        "Its path is the same in every run. With `${{ run.id }}` in it, each run has a report of its \
         own.";

    FILE_UNREADABLE "RB801" "a file that cannot be read"
        "It does not exist, is no regular file, or may not be read; the message says which.";
    PROJECT_CONFLICT "RB802" "a project file that does not fit"
        "The project file `runbook.yaml` is found upward from the playbook.";
    BAD_REPORT "RB803" "a report that cannot be written"
        "The format is not known, or the path is not usable.";

    TEST_FAILED "RB901" "an expectation of a test that is not met"
        "`runbook test` ran the case with its answers, and it did not come out as `expect` says. The \
         table below the message shows what each step came to, with the virtual time at which it began. \
         Either the playbook or the expectation is to be changed.";
    NO_ANSWER "RB902" "a step that a test has no answer for"
        "A test reaches nothing outside. A step that gets to run needs an answer under `answers`: the \
         outputs that later steps read, or a failure. `flow.*` steps have no outside, and run for real.";
    NO_OUTPUT "RB903" "an output that a test's answer leaves out"
        "An answer may leave out outputs that nothing reads. This one is read by an expression; say what \
         it is.";
    TEST_ENDLESS "RB904" "a test that does not end"
        "A case ends after 400 days of virtual time or 100000 calls of steps at the latest. A `flow.wait` \
         or an `after` that is too long, or a list without end, is the usual cause.";
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn codes_are_unique_and_explained() {
        for (at, explanation) in ALL.iter().enumerate() {
            assert!(explanation.text.len() > 20, "{}", explanation.code);
            assert!(
                ALL[..at].iter().all(|other| other.code < explanation.code),
                "{} is twice in the list, or out of order",
                explanation.code
            );
        }
    }
}
