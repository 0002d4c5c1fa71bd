//! The admission core as a whole: stories, laws over any history, and a
//! simulated service behind it.

mod laws;
mod sim;
mod stories;
mod tables;
