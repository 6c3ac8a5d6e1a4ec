package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// answerWithin is how long the last answers of a load may take.
const answerWithin = time.Minute

// task is a load: clients that each send one POST after another over a
// connection that is kept.
type task struct {
	Address string // host:port
	Path    string
	Key     string
	Bodies  []json.RawMessage // gone through in turns
	First   int               // body to begin with
	Clients int
	For     time.Duration
	Most    int64 // requests in all, 0 for no bound
	Deploys bool  // answers name VMs
	Killed  bool  // the server will be gone at some time
}

// outcome is what clients saw.
type outcome struct {
	Seconds float64
	Took    []float64 // milliseconds of each answer that was no refusal
	Refused int       // for want of an offer
	Bytes   int64     // of answers
	Made    []made    // in the order of each client's answers
}

// made is a VM that was acknowledged, and the body that asked for it.
type made struct {
	Body int
	ID   string
}

func (o *outcome) add(p outcome) {
	o.Took, o.Refused, o.Bytes, o.Made = append(o.Took, p.Took...), o.Refused+p.Refused, o.Bytes+p.Bytes, append(o.Made, p.Made...)
}

// serveLoad does the task that it reads.
func serveLoad(ctx context.Context, in io.Reader, out io.Writer) error {
	var t task
	if err := json.NewDecoder(in).Decode(&t); err != nil {
		return err
	}
	requests := make([][]byte, len(t.Bodies))
	for i, body := range t.Bodies {
		requests[i] = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			t.Path, t.Address, t.Key, len(body), body)
	}
	var mu sync.Mutex
	var sum outcome
	var failed error
	var sent atomic.Int64
	var clients sync.WaitGroup
	begin := report.Now()
	for k := range t.Clients {
		clients.Go(func() {
			o, err := t.run(ctx, k, requests, begin.Add(t.For), &sent)
			mu.Lock()
			defer mu.Unlock()
			sum.add(o)
			if err != nil && !t.Killed {
				failed = err
			}
		})
	}
	clients.Wait()
	if failed != nil {
		return failed
	}
	sum.Seconds = report.Now().Sub(begin).Seconds()
	return json.NewEncoder(out).Encode(sum)
}

// run is one client.
func (t *task) run(ctx context.Context, k int, requests [][]byte, end time.Time, sent *atomic.Int64) (o outcome, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return o, err
	}
	defer conn.Close() //nolint:errcheck // all was read
	if err := conn.SetDeadline(end.Add(answerWithin)); err != nil {
		return o, err
	}
	in := bufio.NewReaderSize(conn, 64<<10)
	var answer bytes.Buffer
	for i := t.First + k; ctx.Err() == nil; i += t.Clients {
		begin := report.Now()
		if !begin.Before(end) || t.Most > 0 && sent.Add(1) > t.Most {
			break
		}
		body := i % len(requests)
		if _, err := conn.Write(requests[body]); err != nil {
			return o, err
		}
		status, err := read(in, &answer)
		if err != nil {
			return o, err
		}
		if err := t.note(&o, body, status, answer.Bytes(), float64(report.Now().Sub(begin).Microseconds())/1000); err != nil {
			return o, err
		}
	}
	return o, ctx.Err()
}

func read(in *bufio.Reader, answer *bytes.Buffer) (status int, err error) {
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close() //nolint:errcheck // it is read to its end
	answer.Reset()
	_, err = answer.ReadFrom(res.Body)
	return res.StatusCode, err
}

func (t *task) note(o *outcome, body, status int, answer []byte, took float64) error {
	switch {
	case status == http.StatusUnprocessableEntity && bytes.Contains(answer, []byte("offer")):
		o.Refused++
		return nil
	case status < 200 || status > 299:
		return fmt.Errorf("%s answers %d: %.300s", t.Path, status, answer)
	}
	o.Took, o.Bytes = append(o.Took, took), o.Bytes+int64(len(answer))
	if !t.Deploys {
		return nil
	}
	var vms []struct {
		ID string `json:"vmId"`
	}
	if err := json.Unmarshal(answer, &vms); err != nil || len(vms) == 0 {
		return fmt.Errorf("%s answers no VM: %.300s", t.Path, answer)
	}
	for _, v := range vms {
		o.Made = append(o.Made, made{body, v.ID})
	}
	return nil
}
