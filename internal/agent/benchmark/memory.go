package benchmark

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Sizes of the buffers, of all threads together and of each. No processor has as
// much cache for a thread.
const (
	leastBuffers  = 256 << 20
	threadBuffers = 32 << 20
)

// buffers returns how much memory is used of total: a part of what a host keeps
// for itself when all else is sold.
func buffers(threads, total int64) int64 {
	return min(max(leastBuffers, threads*threadBuffers), max(total/32, min(leastBuffers, total/8)))
}

// totalMemory returns how much there is, or little where that can't be told.
func totalMemory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return leastBuffers
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// memory has all threads copy buffers that no cache holds, and returns how many
// MiB per second arrive.
func memory(ctx context.Context, c Config) (float64, error) {
	size := max(1<<20, c.Buffers/int64(2*c.Threads)) &^ 4095
	pairs := make([][2][]byte, 0, c.Threads)
	defer func() {
		for _, p := range pairs {
			_, _ = unix.Munmap(p[0]), unix.Munmap(p[1])
		}
	}()
	for range c.Threads {
		p, err := pair(int(size))
		if err != nil {
			return 0, err
		}
		pairs = append(pairs, p)
	}
	var all sync.WaitGroup
	done := make([]float64, c.Threads)
	for i, p := range pairs {
		all.Go(func() { done[i] = copies(ctx, c, p) })
	}
	all.Wait()
	sum := 0.0
	for _, d := range done {
		sum += d
	}
	return round(sum), nil
}

// pair returns two buffers that are given back to the kernel at once, not when
// a garbage collector comes to it.
func pair(size int) (p [2][]byte, err error) {
	for i := range p {
		p[i], err = unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			if i == 1 {
				_ = unix.Munmap(p[0])
			}
			return p, fmt.Errorf("not enough memory free: %w", err)
		}
	}
	return p, nil
}

// copies copies parts of a pair there and back until the time is up.
func copies(ctx context.Context, c Config, p [2][]byte) float64 {
	const part = 1 << 20
	for i := range p { // pages are made before the time is taken
		for at := 0; at < len(p[i]); at += 4096 {
			p[i][at] = byte(at >> 12)
		}
	}
	start := c.Now()
	copied, at := 0, 0
	for took := time.Duration(0); took < c.Memory && ctx.Err() == nil; took = c.Now().Sub(start) {
		copied += copy(p[1][at:min(at+part, len(p[1]))], p[0][at:])
		if at += part; at >= len(p[0]) {
			at, p[0], p[1] = 0, p[1], p[0]
		}
	}
	return rate(float64(copied)/(1<<20), c.Now().Sub(start))
}
