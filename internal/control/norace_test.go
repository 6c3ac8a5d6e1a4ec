//go:build !race

package control_test

// quick is whether the engines are quick enough for many runs of a property.
const quick = true
