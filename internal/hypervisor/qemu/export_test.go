package qemu

// Inner functions that are tested on their own.
var (
	CommandLine = commandLine
	GuestCode   = guestCode
	ProbeLine   = probeLine
	LastWords   = lastWords
)
