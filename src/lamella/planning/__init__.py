"""Planning: what a study will need, before anything is submitted."""
