package image

import (
	"context"
	"os"
)

// Waiting returns how many calls of Get wait for address.
func Waiting(c *Cache, address string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.flights[Request{URL: address}.key(false)]
	if f == nil {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.waiters)
}

// Unconfine lets c run programs that need more than qemu-img does.
func Unconfine(c *Cache) { c.unconfined = true }

// RunChild runs a program over f as qemu-img is run.
func RunChild(ctx context.Context, f *os.File, program string, args ...string) error {
	return child{program: program, args: args, file: f}.run(ctx)
}
