//! One release on its way through environments and waves, pure.
