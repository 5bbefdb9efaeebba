//! Databases: what is asked of them, what is changed in them, and what happens where they are in trouble.

mod agreed;
mod faults;
mod indexes;
mod looks;
mod maintenance;
mod purge;
mod redis;
mod reindex;
mod sequences;
mod sessions;
mod shipped;
mod sql;
mod targets;
