package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/server"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
)

// The test binary is also the control plane that is killed.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || os.Args[1] != "server" {
		os.Exit(m.Run())
	}
	go func() { // it must not outlive the test
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if err := serve(context.Background(), os.Args[2:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve is `cpucloud server`, until it is killed.
func serve(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	dir, database, listen, clock := flags.String("data", "", ""), flags.String("database", "", ""), flags.String("listen", "", ""), flags.String("clock", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s, err := server.Start(ctx, server.Config{
		Listen: *listen, Database: *database, Version: "test", Epoch: epoch, Retention: 7 * epoch, TestClock: *clock == "test",
		Now: time.Now, Rand: rand.Reader, Log: slog.New(slog.NewTextHandler(out, nil)),
	})
	if err != nil {
		return err
	}
	_, key, err := s.Control.CreateAccount(ctx, control.System, "operator", account.Operator)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(*dir, "admin.env"), []byte("CPUCLOUD_ADMIN_KEY="+key+"\n"), 0o600); err != nil {
		return err
	}
	fmt.Fprintf(out, "The control plane answers at %s\n", s.URL)
	return <-s.Failed()
}

// However often the control plane is killed while it bills, each VM is charged
// exactly once for each epoch, and all that is stored fits together.
func TestKilledWhileBilling(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cloud := &tenants{engine: e.Name, vms: 2_000, dir: t.TempDir(), database: e.URL(t), command: []string{self, "server"}, due: time.Now().Add(time.Hour)}
		defer func() {
			if err := cloud.close(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		if err := cloud.moveIn(t.Context()); err != nil {
			t.Fatal(err)
		}
		killed, err := cloud.billKilled(t.Context(), 3)
		if err != nil {
			t.Fatal(err)
		}
		if killed == 0 {
			t.Error("it was never killed before all was done")
		}
	})
}

// The audit finds what it looks for.
func TestAudit(t *testing.T) {
	t.Parallel()
	cloud := &tenants{engine: "sqlite", vms: 1_000, dir: t.TempDir(), due: time.Now()}
	cloud.database = filepath.Join(cloud.dir, "cloud.db")
	if err := errors.Join(cloud.moveIn(t.Context()), cloud.billHere(t.Context(), func(run func() error) error { return run() }), cloud.audit(t.Context())); err != nil {
		t.Fatal(err)
	}
	cloud.charged++
	if err := cloud.audit(t.Context()); err == nil {
		t.Error("an epoch that was not charged is not missed")
	}
	cloud.charged--
	cloud.vms++
	if err := cloud.audit(t.Context()); err == nil {
		t.Error("a VM that was not charged is not missed")
	}
}
