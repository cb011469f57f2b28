"""Published sentences of a study, beside what a run supports (design, section 9)."""
