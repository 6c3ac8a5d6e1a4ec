package vm

import (
	"fmt"
	"io"
	"os"

	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/userdata"
)

// readUserData reads user data out of a file, "-" for standard input, "" for none,
// and makes sure that the cloud takes it.
func readUserData(s *session.Session, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	in := s.In
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", fault.Newf(fault.Invalid, "user data can't be read: %v", err)
		}
		defer f.Close() //nolint:errcheck // only read from
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, userdata.Most+1))
	if err != nil {
		return "", fmt.Errorf("read user data: %w", err)
	}
	switch {
	case len(text) == 0:
		return "", fault.New(fault.Invalid, "--user-data is empty: leave it out, or give a file of a script or #cloud-config")
	case len(text) > userdata.Most:
		return "", fault.Newf(fault.Invalid, "--user-data has more than %d bytes: have the VM fetch the rest", userdata.Most)
	}
	return string(text), userdata.Check(userdata.Text(text))
}
