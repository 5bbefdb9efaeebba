//! `http.*`: servers that speak HTTP.

mod body;
pub(super) mod check;
#[cfg(test)]
mod tests;
