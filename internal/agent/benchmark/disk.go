package benchmark

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/capacity"
)

const (
	blockBytes  = 1 << 20  // of sequential reading and writing
	syncedBytes = 16 << 20 // that the page cache gets to hold back
	pageBytes   = 4 << 10  // of a random read, and of what is made durable
)

// measureDisk measures the disk of c.Dir, and adds to notes how.
func measureDisk(ctx context.Context, c Config, m *capacity.Measured, notes *[]string) error {
	f, err := openFile(c)
	if err != nil {
		return err
	}
	defer f.close()
	if !f.direct {
		*notes = append(*notes, "disk: this file system can't be read past the page cache; it is emptied instead")
	}
	if m.DiskWrite, err = f.write(ctx, c); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if m.DiskRead, err = f.read(ctx, c); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if m.DiskIOPS, err = f.random(ctx, c); err != nil {
		return fmt.Errorf("random reads: %w", err)
	}
	if m.DiskFsync, err = f.durable(ctx, c); err != nil {
		return fmt.Errorf("fsync: %w", err)
	}
	return nil
}

// Fsync returns the median of the milliseconds that a written page of 4 KiB
// takes to be durable in dir, measured for about c.Disk.
func Fsync(ctx context.Context, c Config) (float64, error) {
	c = c.withDefaults()
	c.FileBytes = blockBytes
	f, err := openFile(c)
	if err != nil {
		return 0, err
	}
	defer f.close()
	return f.durable(ctx, c)
}

// write writes the file once, or as far as it gets, and returns MiB/s.
func (f *file) write(ctx context.Context, c Config) (float64, error) {
	start := c.Now()
	for f.written < f.size && (f.written == 0 || c.Now().Sub(start) < c.Disk) {
		if _, err := f.WriteAt(f.buffer, f.written); err != nil {
			return 0, err
		}
		f.written += blockBytes
		if !f.direct && f.written%syncedBytes == 0 { // or the time would pass in one last sync
			if err := unix.Fdatasync(int(f.Fd())); err != nil {
				return 0, err
			}
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return 0, err
	}
	return rate(float64(f.written)/blockBytes, c.Now().Sub(start)), nil
}

// read reads what was written, once, and returns MiB/s.
func (f *file) read(ctx context.Context, c Config) (float64, error) {
	f.forget()
	start := c.Now()
	done := int64(0)
	for done < f.written && (done == 0 || c.Now().Sub(start) < c.Disk) {
		if _, err := f.ReadAt(f.buffer, done); err != nil {
			return 0, err
		}
		done += blockBytes
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	return rate(float64(done)/blockBytes, c.Now().Sub(start)), nil
}

// random reads single pages, one at a time, and returns how many per second.
func (f *file) random(ctx context.Context, c Config) (float64, error) {
	f.forget()
	start := c.Now()
	reads, took := 0, time.Duration(0)
	for ; reads == 0 || took < c.Disk; took = c.Now().Sub(start) {
		at := rand.Int64N(f.written/pageBytes) * pageBytes //nolint:gosec // it need not be a secret
		if _, err := f.ReadAt(f.buffer[:pageBytes], at); err != nil {
			return 0, err
		}
		reads++
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if !f.direct && reads%1000 == 0 {
			f.forget()
		}
	}
	return rate(float64(reads), c.Now().Sub(start)), nil
}

// durable writes single pages, each made durable, and returns the median of the
// milliseconds that takes.
func (f *file) durable(ctx context.Context, c Config) (float64, error) {
	const most = 500
	start := c.Now()
	var took []time.Duration
	for len(took) == 0 || len(took) < most && c.Now().Sub(start) < c.Disk {
		began := c.Now()
		if _, err := f.WriteAt(f.buffer[:pageBytes], int64(len(took)%256)*pageBytes); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, c.Now().Sub(began))
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	return milliseconds(median(took)), nil
}
