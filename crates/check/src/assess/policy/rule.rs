//! One policy's expression: read, bounded and made countable.
//!
//! Every place where evaluating could take long or make something large is
//! wrapped in a call that pays for it first ([`super::meter`]): what
//! comprehensions go over, and what comparing, adding and the like look at. So
//! the cost of any policy is bounded, and it is the same in every run.

use std::collections::BTreeSet;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, operators};
use cel::parser::PrattParser;

use super::meter::{EACH, MEASURE, PATTERN, WEIGH};
use crate::documents::Node;

/// Longest expression, in bytes. What is longer is a program, not a rule.
const WHEN_BYTES_MAX: usize = 4096;
/// Most parts of an expression, after macros are expanded.
const PARTS_MAX: usize = 2000;
/// Deepest nesting while reading, and of what was read: reading and evaluating
/// recurse, and a thread of the server has 2 MiB of stack.
const NESTED_MAX: u16 = 32;
const DEPTH_MAX: usize = 64;

/// What policies know.
const VARIABLES: &[&str] = &["new", "old", "file", "service", "packages", "old_packages"];
/// Names of types, for `type(x) == int`.
const TYPES: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
];
/// Functions that policies may call, beside the macros.
const FUNCTIONS: &[&str] = &[
    "bool",
    "bytes",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "int",
    "matches",
    "size",
    "startsWith",
    "string",
    "type",
    "uint",
];
/// Calls that choose between values and never look into them.
const CHOOSING: &[&str] = &[
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::INDEX,
    operators::NEGATE,
    operators::SUBSTRACT,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::NOT_STRICTLY_FALSE,
];

/// A policy's expression, ready to be asked.
pub(crate) struct Rule {
    pub(super) expression: IdedExpr,
    /// Fields of the new document that it looks at, as steps.
    paths: Vec<Vec<String>>,
}

impl Rule {
    /// Reads an expression. `document`: whether there is one to look at.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn new(when: &str, document: bool) -> Result<Rule, Vec<String>> {
        if when.trim().is_empty() {
            return Err(vec!["`when` is empty".to_owned()]);
        }
        if when.len() > WHEN_BYTES_MAX {
            let message = format!("`when` has {} bytes; at most {WHEN_BYTES_MAX}", when.len());
            return Err(vec![message]);
        }
        let parser = PrattParser::new()
            .max_recursion_depth(NESTED_MAX)
            .max_expression_node_count(PARTS_MAX);
        let mut expression = parser.parse(when).map_err(|errors| {
            let errors = errors.errors.iter().take(5);
            let words = errors.map(|error| match error.pos {
                (line, column) if line > 0 => {
                    format!("`when` at {line}:{column}: {}", one_line(&error.msg))
                }
                _ => format!("`when`: {}", one_line(&error.msg)),
            });
            words.collect::<Vec<String>>()
        })?;
        if deeper_than(&expression, DEPTH_MAX) {
            return Err(vec![format!("`when` nests more than {DEPTH_MAX} levels")]);
        }
        let mut look = Look {
            document,
            bound: Vec::new(),
            flaws: BTreeSet::new(),
            paths: Vec::new(),
        };
        look.at(&expression);
        let Look { flaws, paths, .. } = look;
        if !flaws.is_empty() {
            return Err(flaws.into_iter().collect());
        }
        meter(&mut expression);
        Ok(Rule { expression, paths })
    }

    /// Where in the document to point: the first field that it looks at and that is there.
    pub(super) fn place<'n>(&self, root: &'n Node) -> Option<&'n Node> {
        self.paths.iter().find_map(|path| root.at(path))
    }
}

fn one_line(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect()
}

/// Stops at the limit, so that it recurses no deeper itself.
fn deeper_than(expression: &IdedExpr, limit: usize) -> bool {
    let Some(limit) = limit.checked_sub(1) else {
        return true;
    };
    let mut deeper = false;
    children(&expression.expr, &mut |child| {
        deeper = deeper || deeper_than(child, limit)
    });
    deeper
}

/// The parts directly within an expression.
fn children<'e>(expression: &'e Expr, each: &mut impl FnMut(&'e IdedExpr)) {
    match expression {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        Expr::Call(call) => {
            call.target.iter().for_each(|target| each(target));
            call.args.iter().for_each(each);
        }
        Expr::Comprehension(it) => {
            [
                &it.iter_range,
                &it.accu_init,
                &it.loop_cond,
                &it.loop_step,
                &it.result,
            ]
            .into_iter()
            .for_each(each);
        }
        Expr::List(list) => list.elements.iter().for_each(each),
        Expr::Select(select) => each(&select.operand),
        Expr::Map(map) => entries(&map.entries, each),
        Expr::Struct(it) => entries(&it.entries, each),
    }
}

fn entries<'e>(
    entries: &'e [cel::common::ast::IdedEntryExpr],
    each: &mut impl FnMut(&'e IdedExpr),
) {
    for entry in entries {
        match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                each(&entry.key);
                each(&entry.value);
            }
            EntryExpr::StructField(field) => each(&field.value),
        }
    }
}

/// Looks for names that nobody knows.
struct Look<'e> {
    document: bool,
    bound: Vec<&'e str>,
    flaws: BTreeSet<String>,
    paths: Vec<Vec<String>>,
}

impl<'e> Look<'e> {
    fn at(&mut self, expression: &'e IdedExpr) {
        match &expression.expr {
            Expr::Ident(name) => self.ident(name),
            Expr::Call(call) => self.call(call),
            Expr::Select(_) => {
                if let Some(path) = below_new(expression) {
                    self.paths.push(path);
                }
                children(&expression.expr, &mut |child| self.at(child));
            }
            Expr::Comprehension(it) => {
                self.at(&it.iter_range);
                self.at(&it.accu_init);
                let before = self.bound.len();
                self.bound
                    .extend([it.iter_var.as_str(), it.accu_var.as_str()]);
                self.bound.extend(it.iter_var2.as_deref());
                for part in [&it.loop_cond, &it.loop_step, &it.result] {
                    self.at(part);
                }
                self.bound.truncate(before);
            }
            Expr::Struct(it) => {
                let flaw = format!("`when` makes a {:?}, which is not known", it.type_name);
                self.flaws.insert(flaw);
            }
            Expr::Unspecified | Expr::Literal(_) | Expr::List(_) | Expr::Map(_) => {
                children(&expression.expr, &mut |child| self.at(child));
            }
        }
    }

    fn ident(&mut self, name: &str) {
        if self.bound.contains(&name) || TYPES.contains(&name) {
            return;
        }
        if !VARIABLES.contains(&name) {
            let known = VARIABLES.join(", ");
            self.flaws.insert(format!(
                "`when` names {name:?}, which is not known: there are {known}"
            ));
        } else if !self.document && ["new", "old", "file"].contains(&name) {
            self.flaws.insert(format!(
                "`when` names {name:?}, for which the policy needs `file`"
            ));
        }
    }

    fn call(&mut self, call: &'e CallExpr) {
        let name = call.func_name.as_str();
        let operator = name.contains('_') || name.starts_with(['@', '!']);
        if !operator && !FUNCTIONS.contains(&name) {
            let known = FUNCTIONS.join(", ");
            self.flaws.insert(format!(
                "`when` calls {name:?}, which is not known: there are {known}, and has, all, exists, exists_one, map, filter"
            ));
        }
        call.target.iter().for_each(|target| self.at(target));
        call.args.iter().for_each(|arg| self.at(arg));
    }
}

/// The steps of `new.a.b`.
fn below_new(expression: &IdedExpr) -> Option<Vec<String>> {
    match &expression.expr {
        Expr::Ident(name) => (name == "new").then(Vec::new),
        Expr::Select(select) => {
            let mut steps = below_new(&select.operand)?;
            steps.push(select.field.clone());
            Some(steps)
        }
        Expr::Unspecified
        | Expr::Call(_)
        | Expr::Comprehension(_)
        | Expr::List(_)
        | Expr::Literal(_)
        | Expr::Map(_)
        | Expr::Struct(_) => None,
    }
}

/// Wraps everything that has to be paid for.
fn meter(expression: &mut IdedExpr) {
    match &mut expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        Expr::Call(call) => {
            let paid = !CHOOSING.contains(&call.func_name.as_str());
            if call.func_name == "matches"
                && let Some(pattern) = call.args.last_mut()
            {
                wrap(pattern, PATTERN);
            }
            let price = if call.func_name == "size" {
                MEASURE
            } else {
                WEIGH
            };
            let parts = call.target.iter_mut().map(|target| &mut **target);
            for part in parts.chain(&mut call.args) {
                meter(part);
                if paid {
                    wrap(part, price);
                }
            }
        }
        Expr::Comprehension(it) => {
            for part in [
                &mut it.accu_init,
                &mut it.loop_cond,
                &mut it.loop_step,
                &mut it.result,
            ] {
                meter(part);
            }
            meter(&mut it.iter_range);
            wrap(&mut it.iter_range, EACH);
        }
        Expr::List(list) => {
            for element in &mut list.elements {
                meter(element);
                wrap(element, WEIGH);
            }
        }
        Expr::Select(select) => meter(&mut select.operand),
        Expr::Map(map) => map.entries.iter_mut().for_each(entry),
        Expr::Struct(it) => it.entries.iter_mut().for_each(entry),
    }
}

fn entry(entry: &mut cel::common::ast::IdedEntryExpr) {
    match &mut entry.expr {
        EntryExpr::MapEntry(entry) => {
            meter(&mut entry.key);
            meter(&mut entry.value);
            wrap(&mut entry.value, WEIGH);
        }
        EntryExpr::StructField(field) => meter(&mut field.value),
    }
}

fn wrap(expression: &mut IdedExpr, call: &str) {
    match &expression.expr {
        // Nothing to pay: constants are as small as the expression. CEL gathers
        // the results of `map` and `filter` in place where it finds its own
        // variable and a list, and would copy them each time if it did not.
        Expr::Literal(_) if call == WEIGH => return,
        Expr::List(_) if call == WEIGH => return,
        Expr::Ident(name) if name.starts_with('@') => return,
        _ => {}
    }
    let inner = std::mem::take(expression);
    expression.expr = Expr::Call(CallExpr {
        func_name: call.to_owned(),
        target: None,
        args: vec![inner],
    });
}
