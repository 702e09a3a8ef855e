//! The one client through which nodes reach the outside world.
