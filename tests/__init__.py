"""Found before other packages of this name, also by processes that tests start."""
