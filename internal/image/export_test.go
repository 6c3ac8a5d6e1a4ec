package image

import (
	"context"
	"io"
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

// Sniff decides what an image is: see sniff.
func Sniff(head []byte, promised string) (string, error) {
	f, err := sniff(head, format(promised))
	return string(f), err
}

// CheckWhole looks whether a raw disk is whole: see checkWhole.
func CheckWhole(r io.ReaderAt, size int64) error { return checkWhole(r, size) }

// ParseContentRange reads a header: see parseContentRange.
func ParseContentRange(text string) (first, last, total int64, err error) {
	return parseContentRange(text)
}
