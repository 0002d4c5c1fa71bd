//! Lists and maps of documents as CEL values that are copied by reference.
//!
//! CEL copies each item that a comprehension looks at, with everything in it;
//! of a large document that is most of a policy's time. These answer in every
//! way as CEL's own list and map do, because they hand out CEL's own inside,
//! and a copy of them is one more reference to it.
//!
//! Invariant: no expression can tell them from CEL's own.

use std::sync::Arc;

use cel::ExecutionError;
use cel::common::traits::{Adder, Container, Indexer, Iterable, Sizer, Zeroer};
use cel::common::types::{CelList, CelMap, LIST_TYPE, MAP_TYPE, Type};
use cel::common::value::{Builtin, BuiltinRef, CowVal, Val};

/// Equal to CEL's own types, at places of their own: so the meter can tell.
static LIST: Type = LIST_TYPE;
static MAP: Type = MAP_TYPE;

/// Whether a copy of `value` is only a reference.
pub(super) fn is_shared(value: &dyn Val) -> bool {
    let own = value.get_type();
    std::ptr::eq(own, &raw const LIST) || std::ptr::eq(own, &raw const MAP)
}

/// A list that is not copied.
#[derive(Debug)]
pub(super) struct SharedList<'v>(pub(super) Arc<CelList<'v>>);

/// A map that is not copied.
#[derive(Debug)]
pub(super) struct SharedMap<'v>(pub(super) Arc<CelMap<'v>>);

macro_rules! answers_as {
    ($shared:ident, $own:ident, $kind:ident, $type:ident) => {
        impl<'v> Val for $shared<'v> {
            fn get_type(&self) -> &Type {
                &$type
            }

            fn cel_type() -> &'static Type {
                <$own<'static> as Val>::cel_type()
            }

            fn as_adder<'b, 'w>(&'b self) -> Option<&'b (dyn Adder + 'w)>
            where
                Self: 'w,
            {
                self.0.as_adder()
            }

            fn as_container(&self) -> Option<&dyn Container> {
                self.0.as_container()
            }

            fn as_indexer<'b, 'w>(&'b self) -> Option<&'b (dyn Indexer + 'w)>
            where
                Self: 'w,
            {
                self.0.as_indexer()
            }

            fn into_indexer<'w>(self: Box<Self>) -> Option<Box<dyn Indexer + 'w>>
            where
                Self: 'w,
            {
                Some(self)
            }

            fn as_iterable<'b, 'w>(&'b self) -> Option<&'b (dyn Iterable + 'w)>
            where
                Self: 'w,
            {
                self.0.as_iterable()
            }

            fn as_sizer(&self) -> Option<&dyn Sizer> {
                self.0.as_sizer()
            }

            fn as_zeroer(&self) -> Option<&dyn Zeroer> {
                self.0.as_zeroer()
            }

            fn equals(&self, other: &dyn Val) -> bool {
                self.0.equals(other)
            }

            fn clone_as_boxed<'w>(&self) -> Box<dyn Val + 'w>
            where
                Self: 'w,
            {
                Box::new($shared(Arc::clone(&self.0)))
            }

            fn as_builtin<'b, 'w>(&'b self) -> BuiltinRef<'b, 'w>
            where
                Self: 'w,
            {
                BuiltinRef::$kind(&self.0)
            }

            fn into_builtin<'w>(self: Box<Self>) -> Option<Builtin<'w>>
            where
                Self: 'w,
            {
                Some(Builtin::$kind($own::clone(&self.0)))
            }
        }

        impl<'v> Indexer for $shared<'v> {
            fn get<'b, 'w>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'w>, ExecutionError>
            where
                Self: 'w,
            {
                self.0.get(index)
            }

            fn steal<'w>(
                self: Box<Self>,
                index: &dyn Val,
            ) -> Result<Box<dyn Val + 'w>, ExecutionError>
            where
                Self: 'w,
            {
                self.0.get(index).map(CowVal::into_owned)
            }
        }
    };
}

answers_as!(SharedList, CelList, List, LIST);
answers_as!(SharedMap, CelMap, Map, MAP);
