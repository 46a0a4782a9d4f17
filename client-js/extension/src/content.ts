// Runs in the pages of the sites that the owner allowed, at their very beginning.
export {}
