package qemu

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// How long the agent of a guest may take. It is part of the guest, and may be as
// slow, as mute or as false as that likes.
const (
	helloLimit  = 3 * time.Second // to say that it is there
	freezeLimit = 5 * time.Second // to write everything, and hold still
	thawLimit   = 5 * time.Second // to go on
	thawTries   = 24              // as long as that is, again and again
	mostSaid    = 64 << 10        // bytes of one conversation
)

// frozenMark is the name of a file in the folder of a machine that is there from before
// its guest is asked to hold still until it has been asked to go on, and did.
const frozenMark = "frozen"

// guest is a conversation with the agent of a guest, the QEMU guest agent: one JSON
// object a line (docs/interop/qemu-ga-ref).
type guest struct {
	net.Conn
	lines *bufio.Reader
}

// freeze has the guest of machine id bring its file systems into order and hold
// still, and reports whether it says so. One without an agent answers nothing.
func (d *Driver) freeze(ctx context.Context, id string) bool {
	ctx, cancel := context.WithTimeout(ctx, freezeLimit)
	defer cancel()
	g, err := d.guest(ctx, id)
	if err != nil {
		return false
	}
	defer g.Close() //nolint:errcheck // everything was said
	if err := writeFile(d.root, filepath.Join(id, frozenMark), nil); err != nil {
		d.config.Log.WarnContext(ctx, "guest is not asked to hold still", "machine_id", id, "error", err)
		return false
	}
	var systems int
	if err := g.execute(ctx, "guest-fsfreeze-freeze", &systems); err != nil || systems <= 0 {
		_ = g.Close() // the next one speaks when this one has hung up
		d.thaw(context.WithoutCancel(ctx), id)
		return false
	}
	return true
}

// thaw has the guest of machine id go on, and reports whether it had held still
// until then. One that doesn't answer is asked again, by the next driver too.
func (d *Driver) thaw(ctx context.Context, id string) bool {
	systems, err := d.askToGoOn(context.WithoutCancel(ctx), id)
	if err == nil {
		return systems > 0
	}
	d.config.Log.WarnContext(ctx, "guest doesn't answer whether it goes on", "machine_id", id, "error", err)
	d.ports.ended.Go(func() { //nolint:contextcheck // it goes on when the one who asked has gone
		ctx, cancel := d.ports.context()
		defer cancel()
		for range thawTries {
			if alive, err := d.alive(id); err != nil || !alive || sleep(ctx, thawLimit) != nil {
				return
			}
			if _, err := d.askToGoOn(ctx, id); err == nil {
				return
			}
		}
	})
	return false
}

// askToGoOn returns how many file systems had held still.
func (d *Driver) askToGoOn(ctx context.Context, id string) (systems int, err error) {
	ctx, cancel := context.WithTimeout(ctx, thawLimit)
	defer cancel()
	g, err := d.guest(ctx, id)
	if err != nil {
		return 0, err
	}
	defer g.Close() //nolint:errcheck // everything was said
	if err := g.execute(ctx, "guest-fsfreeze-thaw", &systems); err != nil {
		return 0, err
	}
	if err := d.root.Remove(filepath.Join(id, frozenMark)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return systems, err
	}
	return systems, nil
}

// guest returns a conversation with the agent of machine id's guest, which has just
// answered. Returns an Unavailable fault when it doesn't.
func (d *Driver) guest(ctx context.Context, id string) (*guest, error) {
	ctx, cancel := context.WithTimeout(ctx, helloLimit)
	defer cancel()
	var conn net.Conn
	err := d.connect(id, agentSocket, func(path string) (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "unix", path)
		return err
	})
	if err != nil {
		return nil, err
	}
	g := &guest{conn, bufio.NewReader(io.LimitReader(conn, mostSaid))}
	if err := g.hello(ctx, d.config.Now().UnixNano()&(1<<31-1)); err != nil {
		return nil, errors.Join(fault.New(fault.Unavailable, "no agent answers in the guest"), err, conn.Close())
	}
	return g, nil
}

// hello makes sure that what is heard from here on is what is answered: others may
// have begun to say something, and the agent to answer it.
func (g *guest) hello(ctx context.Context, number int64) error {
	stop := g.until(ctx)
	const sentinel = 0xff // begins a conversation anew; JSON never contains it
	_, err := fmt.Fprintf(g, "\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":%d}}\n", number)
	for err == nil {
		if _, err = g.lines.ReadSlice(sentinel); errors.Is(err, bufio.ErrBufferFull) {
			err = nil
			continue
		}
		var line []byte
		if err == nil {
			line, err = g.lines.ReadSlice('\n')
		}
		var said struct {
			Return int64 `json:"return"`
		}
		if err == nil && json.Unmarshal(line, &said) == nil && said.Return == number {
			break
		}
	}
	return stop(err)
}

// execute gives a command and decodes its answer into out.
func (g *guest) execute(ctx context.Context, command string, out any) error {
	stop := g.until(ctx)
	_, err := fmt.Fprintf(g, "{\"execute\":%q}\n", command)
	var line []byte
	if err == nil {
		line, err = g.lines.ReadBytes('\n')
	}
	if err = stop(err); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	var said struct {
		Return json.RawMessage `json:"return"`
	}
	if err := json.Unmarshal(bytes.TrimSpace(line), &said); err != nil || said.Return == nil {
		return fmt.Errorf("%s: the agent refuses it", command)
	}
	return json.Unmarshal(said.Return, out)
}

// until makes reading and writing fail once ctx ends. The function it returns ends that.
func (g *guest) until(ctx context.Context) func(error) error {
	stop := context.AfterFunc(ctx, func() { _ = g.SetDeadline(time.Unix(1, 0)) })
	return func(err error) error {
		if stop(); err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
}
