package main

import (
	"io"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/cpucloud/cpucloud/internal/archive/s3"
	"github.com/cpucloud/cpucloud/internal/cli"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// archiveFlags say where exports of snapshots are kept, and how much of them.
type archiveFlags struct {
	store string
	keys  string
	gib   int64
	count int64
}

func (a *archiveFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&a.store, "archive", "", "store that exports of snapshots are kept in: s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION; CPUCLOUD_ARCHIVE says the same")
	flags.StringVar(&a.keys, "archive-keys", "", "file with the lines AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=…, if they are not in the environment")
	flags.Int64Var(&a.gib, "archive-limit", 1024, "GiB that the exports of one account may take in the store")
	flags.Int64Var(&a.count, "archive-count", 100, "how many exports one account may have")
}

// mostKeys is how large a file of keys may be.
const mostKeys = 64 << 10

// open returns the store, nil for none. Nothing is asked of it yet.
func (a *archiveFlags) open(sys cli.IO) (*s3.Store, control.ExportLimits, error) {
	limits := control.ExportLimits{Count: a.count, Bytes: a.gib << 30}
	if a.count < 0 || a.gib < 0 || a.gib > 1<<30 {
		return nil, limits, fault.New(fault.Invalid, "--archive-limit and --archive-count are GiB and a number of exports, at least 0")
	}
	address := a.store
	if address == "" {
		address = sys.Env("CPUCLOUD_ARCHIVE")
	}
	if address == "" {
		return nil, limits, nil
	}
	location, err := s3.ParseLocation(address)
	if err != nil {
		return nil, limits, fault.Newf(fault.Invalid, "--archive: %s", fault.Message(err))
	}
	keys, err := a.credentials(sys)
	if err != nil {
		return nil, limits, err
	}
	return s3.New(s3.Config{Location: location, Credentials: keys, Now: time.Now}), limits, nil
}

func (a *archiveFlags) credentials(sys cli.IO) (s3.Credentials, error) {
	if a.keys == "" {
		keys, err := s3.CredentialsFrom(sys.Env)
		if err != nil {
			err = fault.Newf(fault.Invalid, "%s in the environment; set it, or name a file with --archive-keys", fault.Message(err))
		}
		return keys, err
	}
	f, err := os.Open(a.keys)
	if err != nil {
		return s3.Credentials{}, fault.Newf(fault.Invalid, "--archive-keys: %v", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(io.LimitReader(f, mostKeys))
	if err != nil {
		return s3.Credentials{}, fault.Newf(fault.Invalid, "--archive-keys: %v", err)
	}
	keys, err := s3.ReadCredentials(string(text))
	if err != nil {
		err = fault.Newf(fault.Invalid, "--archive-keys: %s", fault.Message(err))
	}
	return keys, err
}
