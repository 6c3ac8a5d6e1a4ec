package image

import (
	"context"
	"errors"
	"io"
	"time"
)

const (
	reportEvery = 1 << 20 // bytes

	mostTries  = 6                // connections in a row that bring little
	firstPause = time.Second      // before the second of them; each pause is twice the one before
	lastPause  = 30 * time.Second // is the longest
	progressed = 8 << 20          // bytes of one connection after which tries are counted anew
	mostAnew   = 3                // times that one fetch begins from the start again
)

// intake reads a download from its first byte to its last: what is in its spool,
// and then what the network brings, which is put into the spool as well. It goes
// on over broken connections where the server can say that the rest is of the
// same image.
type intake struct {
	cache   *Cache
	ctx     context.Context //nolint:containedctx // of the fetch that this is a part of
	request Request
	spool   *spool
	report  func(Progress)

	conn    *connection // nil while there is none
	began   int64       // size of the spool when it was made
	pending error       // that ended it, to be told after the bytes before
	at      int64       // read so far
	told    int64       // of the last report
	saved   int64       // size of the spool at the last checkpoint
	tries   int
	etag    string
	done    bool // all of it was read
	private bool // part of it came from a host that is only for who asked
}

// Read implements io.Reader. Its errors are sentences for the customer; errAnew
// asks for restart, and to be read from the start again.
func (d *intake) Read(p []byte) (int, error) {
	if d.at < d.spool.size {
		n, err := d.spool.ReadAt(p[:min(int64(len(p)), d.spool.size-d.at)], d.at)
		d.at += int64(n)
		if errors.Is(err, io.EOF) && n > 0 {
			err = nil
		}
		return n, err
	}
	for {
		if d.done = d.done || d.spool.complete(); d.done {
			d.close()
			return 0, io.EOF
		}
		if err := d.ready(); err != nil {
			d.done = errors.Is(err, io.EOF)
			return 0, err
		}
		if total := d.spool.state.Total; total > 0 { // no more than was announced
			p = p[:min(int64(len(p)), total-d.spool.size)]
		}
		n, err := d.conn.r.Read(p)
		d.pending = err
		if n > 0 {
			return n, d.take(p[:n])
		}
	}
}

// ready makes sure that there is a connection to read from; io.EOF is the end.
func (d *intake) ready() error {
	for {
		if d.conn != nil && d.pending == nil {
			return nil
		}
		err := d.pending
		if d.conn != nil {
			if errors.Is(err, io.EOF) && d.spool.state.Total == 0 {
				d.spool.state.Total = d.spool.size
				return io.EOF
			}
			if d.spool.size-d.began >= progressed {
				d.tries = 0
			}
			err = d.conn.broken(err, d.spool.size, d.spool.state.Total)
			d.close()
			if !d.again(err) {
				return err
			}
		}
		err = d.connect()
		if err == nil || errors.Is(err, errAnew) || !d.again(err) {
			return err
		}
	}
}

// again waits before another connection, unless err or the number of those that
// were tried says that there should be none.
func (d *intake) again(err error) bool {
	if !d.spool.resumable() || !Temporary(err) || d.ctx.Err() != nil || d.tries+1 >= mostTries {
		return false
	}
	pause := min(firstPause<<d.tries, lastPause)
	d.tries++
	return d.cache.cfg.Pause(d.ctx, pause) == nil
}

// connect makes the next connection.
func (d *intake) connect() error {
	conn, err := d.cache.connect(d.ctx, d.request.URL, d.spool)
	if err != nil {
		return err
	}
	d.conn, d.pending = conn, nil
	if conn.from != d.spool.size {
		return errAnew // with conn, which begins at the start
	}
	d.accept()
	return nil
}

// accept takes what the connection says of the image as what is being fetched.
func (d *intake) accept() {
	d.began, d.etag = d.spool.size, d.conn.etag
	d.private = d.private || d.conn.private
	st := &d.spool.state
	st.URL, st.Validator = Redact(d.request.URL), d.conn.validator
	if d.conn.total > 0 {
		st.Total = d.conn.total
	}
	if d.private {
		st.Owner = d.request.Tenant
	}
}

// restart begins from the start again.
func (d *intake) restart() error {
	d.at, d.told, d.saved, d.done = 0, 0, 0, false
	if err := d.spool.restart(); err != nil {
		return writeError(err)
	}
	if d.conn != nil {
		d.accept()
	}
	return nil
}

// take puts p into the spool.
func (d *intake) take(p []byte) error {
	d.conn.seen.Add(int64(len(p)))
	if _, err := d.spool.Write(p); err != nil {
		return err
	}
	size, total := d.spool.size, d.spool.state.Total
	d.at = size
	if most := d.cache.cfg.MaxDownload; size > most {
		return overlong(most)
	}
	if size-d.told >= reportEvery || d.pending != nil || size == total {
		d.told = size
		d.report(Progress{Download, size, total})
	}
	if d.spool.resumable() && size-d.saved >= checkpoint {
		d.saved = size
		return d.spool.save(d.cache.cfg.Now())
	}
	return nil
}

// close ends the connection, if there is one.
func (d *intake) close() {
	if d.conn != nil {
		d.conn.close()
	}
	d.conn, d.pending = nil, nil
}
