//go:build race

package control_test

// quick is whether the engines are quick enough for many runs of a property:
// not with the race detector, which slows SQLite down thirtyfold.
const quick = false
