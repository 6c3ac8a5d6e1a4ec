// Package vmtest tests the built program with real virtual machines: `make
// test-vm` runs it. Nothing in it is replaced by a fake; what a test looks at is
// what a customer sees by HTTP and SSH, and what an operator sees on the host.
package vmtest
