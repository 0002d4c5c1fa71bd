//! One gateway as a pure machine: routing by weights, sticky by tenant.
