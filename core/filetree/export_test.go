package filetree

// System is the Process that the system knows of.
var System = system{}
