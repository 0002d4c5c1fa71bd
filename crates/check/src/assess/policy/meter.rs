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
use super::shared::is_shared;

/// Pays for a value by what it holds.
pub(super) const WEIGH: &str = "@weigh";
/// Pays for a text's length, and next to nothing for that of anything else.
pub(super) const MEASURE: &str = "@measure";
/// Pays for a pattern, which is compiled each time that it is used.
pub(super) const PATTERN: &str = "@pattern";
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
    left: Arc<AtomicU64>,
    steps_max: u64,
}

impl<'v> Bench<'v> {
    /// A place where each policy may cost so many steps.
    pub(super) fn new(steps_max: u64) -> Bench<'v> {
        let left = Arc::new(AtomicU64::new(steps_max));
        let mut context = Context::with_env(Arc::clone(&ENV));
        let mut add = |name, cost: fn(&dyn Val) -> u64, order: bool| {
            let left = Arc::clone(&left);
            let call: Function = Box::new(move |call| {
                let value = pay(call, &left, cost)?;
                Ok(if order { ordered(value) } else { value })
            });
            // These names can't be written in CEL, so nothing else has taken them.
            let added = context.add_function(name, call);
            debug_assert_eq!(added, Ok(()));
        };
        add(WEIGH, weight, false);
        add(MEASURE, text_weight, false);
        add(PATTERN, pattern_weight, false);
        add(EACH, items_weight, true);
        Bench {
            context,
            left,
            steps_max,
        }
    }

    pub(super) fn set(&mut self, name: &str, value: Box<dyn Val + 'v>) {
        self.context.add_variable_as_val(name, value);
    }

    /// Whether the policy bites.
    ///
    /// # Errors
    /// Why it can't be evaluated, without any value of the document.
    pub(super) fn ask(&self, rule: &Rule) -> Result<bool, String> {
        self.left.store(self.steps_max, Ordering::Relaxed);
        let answer = cel::Value::resolve_val(&rule.expression, &self.context);
        // Looked at first: CEL's `||` hides errors of one side.
        if self.left.load(Ordering::Relaxed) == 0 {
            let most = self.steps_max;
            return Err(format!("it needs more than {most} steps on this document"));
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

/// Hands on the one argument, once it is paid for. At nothing left, nothing is.
fn pay<'c, 'v>(
    call: &mut FunctionContext<'c, 'v>,
    left: &AtomicU64,
    cost: fn(&dyn Val) -> u64,
) -> Result<CowVal<'c, 'v>, ExecutionError> {
    let Some(value) = call.args.pop() else {
        return Err(ExecutionError::invalid_argument_count(1, 0));
    };
    let before = left.load(Ordering::Relaxed);
    let after = match before {
        0 => 0,
        _ => before.saturating_sub(cost(&*value)),
    };
    left.store(after, Ordering::Relaxed);
    if after == 0 {
        return Err(ExecutionError::function_error("policy", "too many steps"));
    }
    Ok(value)
}

/// Going over a value copies its items one by one; those of documents are not
/// copied in depth.
fn items_weight(value: &dyn Val) -> u64 {
    let copied = |item: &dyn Val| match is_shared(item) {
        true => 1,
        false => weight(item),
    };
    if let Some(list) = value.downcast_ref::<CelList>() {
        1 + list.inner().iter().map(|item| copied(&**item)).sum::<u64>()
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        // Its keys are, and are put in order.
        let keys = map.inner().keys();
        1 + keys.map(|key| 2 * weight(key.inner())).sum::<u64>()
    } else {
        weight(value)
    }
}

/// Counting characters goes through a text; lists and maps know their size.
fn text_weight(value: &dyn Val) -> u64 {
    match value.downcast_ref::<CelString>() {
        Some(_) => weight(value),
        None => 1,
    }
}

/// Compiling takes longer than matching, and counted repetitions multiply it.
fn pattern_weight(value: &dyn Val) -> u64 {
    const STEPS_PER_PART: u64 = 20;
    let Some(text) = value.downcast_ref::<CelString>() else {
        return weight(value);
    };
    let text = text.inner();
    let counts = text.split('{').skip(1).filter_map(|rest| {
        let inside = rest.split('}').next()?;
        let numbers = inside.split(',').map(str::trim);
        numbers
            .filter_map(|number| number.parse::<u64>().ok())
            .max()
    });
    let repeated = counts.fold(1_u64, |all, count| all.saturating_mul(count.max(1)));
    let parts = (text.len() as u64).saturating_add(10);
    parts
        .saturating_mul(STEPS_PER_PART)
        .saturating_mul(repeated)
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
