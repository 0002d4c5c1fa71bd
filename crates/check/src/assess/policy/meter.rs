//! Counts what evaluating a policy costs, and ends it when that is too much.
//!
//! Invariant: the same expression over the same values costs the same in every
//! run, and gives the same answer: maps are gone over in the order of their keys.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use cel::common::types::{CelBool, CelBytes, CelList, CelMap, CelString};
use cel::common::value::{CowVal, Val};
use cel::{Context, Env, ExecutionError, FunctionContext};

use super::Rule;

/// Pays for a value by what it holds.
pub(super) const WEIGH: &str = "@weigh";
/// Pays for going over a value, and puts a map's keys in order.
pub(super) const EACH: &str = "@each";

/// What one policy may cost on one document. A step is a value that is looked
/// at or copied: some tenth of a microsecond. A comprehension over all values of
/// the largest document costs two million.
pub(super) const STEPS_MAX: u64 = 5_000_000;
/// How the words about a missing field end.
pub(super) const MISSING: &str = "is missing";
/// Bytes of text that cost one step.
const BYTES_PER_STEP: usize = 32;

/// The form in which CEL takes functions that hand on what they were given.
type Function = Box<
    dyn for<'c, 'v> Fn(&mut FunctionContext<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError>
        + Send
        + Sync,
>;

/// CEL's own functions; building them takes longer than most policies.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// Where policies are asked: the variables, and what was spent.
pub(super) struct Bench<'v> {
    context: Context<'v, 'v>,
    spent: Arc<AtomicU64>,
}

impl<'v> Bench<'v> {
    pub(super) fn new() -> Bench<'v> {
        let spent = Arc::new(AtomicU64::new(0));
        let mut context = Context::with_env(Arc::clone(&ENV));
        let purse = Arc::clone(&spent);
        let weigh: Function = Box::new(move |call| pay(call, &purse, weight));
        let purse = Arc::clone(&spent);
        let each: Function = Box::new(move |call| {
            let value = pay(call, &purse, |value| weight(value) + 1)?;
            Ok(ordered(value))
        });
        // Both names can't be written in CEL, and are taken by nothing else.
        let added = context
            .add_function(WEIGH, weigh)
            .and(context.add_function(EACH, each));
        debug_assert_eq!(added, Ok(()));
        Bench { context, spent }
    }

    pub(super) fn set(&mut self, name: &str, value: Box<dyn Val + 'v>) {
        self.context.add_variable_as_val(name, value);
    }

    /// Whether the policy bites.
    ///
    /// # Errors
    /// Why it can't be evaluated, without any value of the document.
    pub(super) fn ask(&self, rule: &Rule) -> Result<bool, String> {
        self.spent.store(0, Ordering::Relaxed);
        let answer = cel::Value::resolve_val(&rule.expression, &self.context);
        // Looked at first: CEL's `||` hides errors of one side.
        if self.spent.load(Ordering::Relaxed) > STEPS_MAX {
            return Err(format!(
                "it needs more than {STEPS_MAX} steps on this document"
            ));
        }
        match answer {
            Ok(value) => match value.downcast_ref::<CelBool>() {
                Some(answer) => Ok(*answer.inner()),
                None => Err(format!(
                    "`when` gives {}, not true or false",
                    value.get_type().name()
                )),
            },
            Err(error) => Err(words(&error)),
        }
    }
}

fn pay<'c, 'v>(
    call: &mut FunctionContext<'c, 'v>,
    spent: &AtomicU64,
    cost: impl Fn(&dyn Val) -> u64,
) -> Result<CowVal<'c, 'v>, ExecutionError> {
    let Some(value) = call.args.pop() else {
        return Err(ExecutionError::invalid_argument_count(1, 0));
    };
    let before = spent.load(Ordering::Relaxed);
    if before <= STEPS_MAX {
        spent.store(before.saturating_add(cost(&*value)), Ordering::Relaxed);
    }
    if spent.load(Ordering::Relaxed) > STEPS_MAX {
        return Err(ExecutionError::function_error("policy", "too many steps"));
    }
    Ok(value)
}

/// Values in a value, and a part for the length of texts. Its own depth is
/// bounded by the document's and the expression's.
fn weight(value: &dyn Val) -> u64 {
    let steps = |bytes: usize| 1 + (bytes / BYTES_PER_STEP) as u64;
    if let Some(text) = value.downcast_ref::<CelString>() {
        steps(text.inner().len())
    } else if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        steps(bytes.inner().len())
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        1 + list.inner().iter().map(|item| weight(&**item)).sum::<u64>()
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        1 + map
            .inner()
            .values()
            .map(|item| 1 + weight(&**item))
            .sum::<u64>()
    } else {
        1
    }
}

/// A map becomes the list of its keys, which is what CEL goes over, in order.
fn ordered<'c, 'v>(value: CowVal<'c, 'v>) -> CowVal<'c, 'v> {
    let Some(map) = value.downcast_ref::<CelMap>() else {
        return value;
    };
    let mut keys: Vec<_> = map.inner().keys().cloned().collect();
    keys.sort();
    let keys: Vec<Box<dyn Val + 'v>> = keys
        .iter()
        .map(|key| key.inner().clone_as_boxed())
        .collect();
    CowVal::owned(CelList::from(keys))
}

/// An error without the values that led to it: they may be secret.
fn words(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => {
            let key: String = key.chars().take(100).collect();
            format!("{key:?} {MISSING}")
        }
        ExecutionError::NoSuchOverload(error) => error.to_string(),
        ExecutionError::UndeclaredReference(name) => format!("{name:?} is not known"),
        ExecutionError::UnexpectedType { got, want } => {
            format!("a {got} stands where it needs a {want}")
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "it divides by zero".to_owned()
        }
        ExecutionError::Overflow(..) => "a number becomes too large".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "a list has no item at that index".to_owned(),
        ExecutionError::FunctionError { function, .. } => {
            format!("{function}() fails on this value")
        }
        ExecutionError::ValuesNotComparable(..) => {
            "values of two kinds can't be compared".to_owned()
        }
        _ => "values don't go together here".to_owned(),
    }
}
