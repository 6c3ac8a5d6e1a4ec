package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu/qmp"
)

// What a copy adds to a machine, by its names there. Nothing else is called so, so
// that what was left can be found.
const (
	saveJob   = "save"        // copies
	formatJob = "save-format" // makes the target a disk
	saveNode  = "save"        // the target as a disk
	saveFile  = "save-file"   // the target as a file
	saveFD    = "save"        // the target as an open file
)

// saver makes a QEMU copy a disk.
type saver struct{ talk monitor }

// job is what QEMU tells of one.
type job struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Done   int64  `json:"current-progress"`
	Total  int64  `json:"total-progress"`
	Error  string `json:"error"`
}

const concluded = "concluded"

// image is what QEMU tells of a disk and what it lies on.
type image struct {
	Virtual int64  `json:"virtual-size"`
	Actual  int64  `json:"actual-size"`
	Backing *image `json:"backing-image"`
}

// prepare hands target over and makes it an empty disk as large as that of node.
func (s saver) prepare(ctx context.Context, node string, target *os.File) error {
	disk, err := s.look(ctx, node)
	if err != nil {
		return err
	}
	if err := s.hand(ctx, target); err != nil {
		return err
	}
	err = s.talk.execute(ctx, "blockdev-create", arguments{"job-id": formatJob, "options": arguments{"driver": "qcow2", "file": saveFile, "size": disk.Virtual}}, nil)
	if err == nil {
		err = s.wait(ctx, formatJob, nil)
	}
	if err == nil {
		err = reserve(target, disk)
	}
	if err != nil {
		return err
	}
	return s.talk.execute(ctx, "blockdev-add", arguments{
		"driver": "qcow2", "node-name": saveNode, "file": saveFile, "discard": "unmap", "detect-zeroes": "unmap", "backing": nil,
	}, nil)
}

// arguments is an argument that is written where it is used.
type arguments map[string]any

// look returns what QEMU knows of the disk of node.
func (s saver) look(ctx context.Context, node string) (image, error) {
	var nodes []struct {
		Name  string `json:"node-name"`
		Image image  `json:"image"`
	}
	if err := s.talk.execute(ctx, "query-named-block-nodes", nil, &nodes); err != nil {
		return image{}, err
	}
	for _, n := range nodes {
		if n.Name == node {
			return n.Image, nil
		}
	}
	return image{}, fault.Newf(fault.Internal, "QEMU knows no disk %.40q", node)
}

// hand hands the open target over, and has it opened in the same conversation: QEMU
// closes what nobody has opened when that ends (monitor_fdset_cleanup in monitor/fds.c).
func (s saver) hand(ctx context.Context, target *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	return s.talk(ctx, func(ctx context.Context, c *qmp.Client) error {
		var set struct {
			Number int64 `json:"fdset-id"`
		}
		if err := c.Pass(ctx, "add-fd", arguments{"opaque": saveFD}, target, &set); err != nil {
			return err
		}
		return c.Execute(ctx, "blockdev-add", fileNode{"file", saveFile, fmt.Sprintf("/dev/fdset/%d", set.Number), false, "unmap"}, nil)
	})
}

// reserve sets room aside for all that the copy may take. Without it a server whose
// disk is full would fail what the guest writes: what it is about to overwrite is
// copied first (block/copy-before-write.c). File systems that set nothing aside are taken as they are.
func reserve(target *os.File, disk image) error {
	var used int64
	for d := &disk; d != nil; d = d.Backing {
		used += d.Actual
	}
	most := min(used, disk.Virtual) + disk.Virtual/2048 + 4<<20 // see fileLimit
	err := unix.Fallocate(int(target.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, most)
	switch {
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT):
		return fault.Newf(fault.Unavailable, "the server has no room for a copy of the disk at the moment, of at most %d MiB", most>>20)
	case err != nil && !errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("set room aside: %w", err)
	}
	return nil
}

// begin takes the disk of node as it is now.
func (s saver) begin(ctx context.Context, node string) error {
	return s.talk.execute(ctx, "blockdev-backup", arguments{
		"job-id": saveJob, "device": node, "target": saveNode, "sync": "full", "auto-dismiss": false,
	}, nil)
}

// follow waits until the copy is whole and on the disk.
func (s saver) follow(ctx context.Context, b hypervisor.Backup) error {
	if err := s.wait(ctx, saveJob, b.Progress); err != nil {
		return err
	}
	// Here, as QEMU does so with its guest standing still.
	if err := b.Target.Sync(); err != nil {
		return fmt.Errorf("write the copy: %w", err)
	}
	if err := s.clear(ctx); err != nil {
		return err
	}
	info, err := b.Target.Stat()
	if err == nil {
		err = b.Target.Truncate(info.Size()) // gives back what was set aside and not needed
	}
	if err == nil {
		err = b.Target.Sync()
	}
	if err != nil {
		return fmt.Errorf("write the copy: %w", err)
	}
	return nil
}

// How often a job is asked how far it is.
const (
	firstPoll = 10 * time.Millisecond
	lastPoll  = 500 * time.Millisecond
)

// wait returns when a job has ended, with an error if it did not do what it was for.
func (s saver) wait(ctx context.Context, id string, progress func(done, total int64)) error {
	for pause := firstPoll; ; pause = min(2*pause, lastPoll) {
		jobs, err := s.jobs(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(jobs, func(j job) bool { return j.ID == id })
		switch {
		case i < 0:
			return fault.New(fault.Internal, "QEMU has forgotten the copy that it makes")
		case jobs[i].Status == concluded && jobs[i].Error != "":
			return fault.Newf(fault.Unavailable, "the disk could not be copied: %.200s", lastWords([]byte(jobs[i].Error)))
		case jobs[i].Status == concluded:
			return s.talk.execute(ctx, "job-dismiss", arguments{"id": id}, nil)
		case progress != nil && jobs[i].Total > 0:
			progress(jobs[i].Done, jobs[i].Total)
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// sleep waits, or returns ctx's error when that ends first.
func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// jobs returns those of copies.
func (s saver) jobs(ctx context.Context) ([]job, error) {
	var jobs []job
	err := s.talk.execute(ctx, "query-jobs", nil, &jobs)
	return slices.DeleteFunc(jobs, func(j job) bool { return j.ID != saveJob && j.ID != formatJob }), err
}

// clear ends what copies and takes everything away that was added for it. Where
// there is nothing, it does nothing.
func (s saver) clear(ctx context.Context) error {
	if err := s.endJobs(ctx); err != nil {
		return err
	}
	var nodes []struct {
		Name string `json:"node-name"`
	}
	if err := s.talk.execute(ctx, "query-named-block-nodes", arguments{"flat": true}, &nodes); err != nil {
		return err
	}
	for _, name := range []string{saveNode, saveFile} { // the upper one first
		for _, n := range nodes {
			if n.Name != name {
				continue
			}
			if err := s.talk.execute(ctx, "blockdev-del", arguments{"node-name": name}, nil); err != nil {
				return err
			}
		}
	}
	var sets []struct {
		Number int64 `json:"fdset-id"`
		FDs    []struct {
			Opaque string `json:"opaque"`
		} `json:"fds"`
	}
	if err := s.talk.execute(ctx, "query-fdsets", nil, &sets); err != nil {
		return err
	}
	for _, set := range sets {
		if len(set.FDs) == 0 || set.FDs[0].Opaque != saveFD {
			continue
		}
		if err := s.talk.execute(ctx, "remove-fd", arguments{"fdset-id": set.Number}, nil); err != nil {
			return err
		}
	}
	return nil
}

// endJobs has what copies end, whatever comes of it.
func (s saver) endJobs(ctx context.Context) error {
	for pause := firstPoll; ; pause = min(2*pause, lastPoll) {
		jobs, err := s.jobs(ctx)
		if err != nil || len(jobs) == 0 {
			return err
		}
		for _, j := range jobs {
			command := "job-cancel"
			if j.Status == concluded {
				command = "job-dismiss"
			}
			// One that has just gone on to another state can't be told so: it is looked at again.
			var refusal *qmp.Error
			if err := s.talk.execute(ctx, command, arguments{"id": j.ID}, nil); err != nil && !errors.As(err, &refusal) {
				return err
			}
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}
