//! `log.*`: what logs tell.

mod count;
mod dates;
mod lines;
mod literal;
mod matcher;
mod notation;
mod parts;
mod rotation;
pub(super) mod scan;
mod seek;
mod source;
mod stamp;
mod survey;
