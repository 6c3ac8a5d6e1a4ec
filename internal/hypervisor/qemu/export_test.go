package qemu

// Inner functions that are tested on their own.
var (
	CommandLine = commandLine
	ProbeLine   = probeLine
	LastWords   = lastWords
)
