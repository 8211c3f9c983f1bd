//! Small tools that the client and the server share and that no protocol message needs.
//!
//! The modules, from the top layer down; a module names only modules below it:

/// An error's message with its causes, in one line.
pub mod error_chain;
