package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/archive/archivetest"
	"github.com/cpucloud/cpucloud/internal/cli"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// environment is a system with these variables.
func environment(pairs map[string]string) cli.IO {
	return cli.IO{Env: func(name string) string { return pairs[name] }}
}

func TestArchiveFlags(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.env")
	if err := os.WriteFile(file, []byte("AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "hunter2"}
	const store = "s3://backups/cloud?endpoint=https://s3.example.org"
	for name, tt := range map[string]struct {
		flags archiveFlags
		env   map[string]string
		where string // "" for nowhere
		bad   string // "" for nothing
	}{
		"no store":        {},
		"keys of a file":  {flags: archiveFlags{store: store, keys: file}, where: "s3://backups/cloud/ at https://s3.example.org"},
		"of variables":    {flags: archiveFlags{store: store}, env: keys, where: "s3://backups/cloud/ at https://s3.example.org"},
		"by a variable":   {env: map[string]string{"CPUCLOUD_ARCHIVE": store, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "hunter2"}, where: "s3://backups/cloud/ at https://s3.example.org"},
		"no keys":         {flags: archiveFlags{store: store}, bad: "AWS_ACCESS_KEY_ID in the environment; set it, or name a file with --archive-keys"},
		"no such file":    {flags: archiveFlags{store: store, keys: file + "x"}, bad: "--archive-keys: open"},
		"no address":      {flags: archiveFlags{store: "backups", keys: file}, bad: "--archive: the store has to be s3://BUCKET"},
		"keys in it":      {flags: archiveFlags{store: "s3://a:hunter2@backups", keys: file}, bad: "without keys"},
		"negative limits": {flags: archiveFlags{gib: -1}, bad: "--archive-limit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, limits, err := tt.flags.open(environment(tt.env))
			switch {
			case tt.bad != "":
				if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.bad) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("got %v, want an Invalid fault: %s", err, tt.bad)
				}
			case err != nil || (s == nil) != (tt.where == "") || s != nil && s.Location().String() != tt.where || limits.Bytes != tt.flags.gib<<30:
				t.Errorf("got %v, %+v, %v; want %q", s, limits, err, tt.where)
			}
		})
	}
}

// An operator is told at the start whether the store can be used.
func TestArchiveIsReported(t *testing.T) {
	t.Parallel()
	g := archivetest.Start(t)
	var said bytes.Buffer
	report(t.Context(), &said, g.Store("cloud"))
	if !strings.HasPrefix(said.String(), "Snapshots are exported to s3://exports/cloud/ at http://127.0.0.1:") {
		t.Errorf("said %q", said.String())
	}
	said.Reset()
	flags := archiveFlags{store: g.Address("cloud")}
	wrong, _, err := flags.open(environment(map[string]string{"AWS_ACCESS_KEY_ID": archivetest.AccessKey, "AWS_SECRET_ACCESS_KEY": "wrong"}))
	if err != nil {
		t.Fatal(err)
	}
	report(t.Context(), &said, wrong)
	if !strings.Contains(said.String(), "Warning: snapshots can't be exported: can't write to the store s3://exports/cloud/") || !strings.Contains(said.String(), "keys") {
		t.Errorf("said %q", said.String())
	}
}
