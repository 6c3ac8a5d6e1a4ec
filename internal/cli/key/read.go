package key

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// maxFile bounds what is read of a file that should hold one line.
const maxFile = 64 << 10

// Defaults returns the user's own public keys, or a NotFound fault that says
// how to make one.
func Defaults(s *session.Session) ([]string, error) {
	dir := filepath.Join(s.Env("HOME"), ".ssh")
	var lines []string
	for _, name := range []string{"id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"} {
		line, err := readFile(filepath.Join(dir, name))
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		return nil, fault.Newf(fault.NotFound, "there is no SSH public key in %s: make one with `ssh-keygen -t ed25519`, or name one", dir)
	}
	return lines, nil
}

// Read returns the public key line that text is, or that the file holds which
// text names. IsKey is false when text is neither and may be the name or
// fingerprint of a registered key. A private key's file stands for the public
// one beside it.
func Read(s *session.Session, text string) (line string, isKey bool, err error) {
	text = strings.TrimSpace(text)
	if looksPublic(text) {
		return text, true, nil
	}
	path, isPath := text, strings.ContainsRune(text, filepath.Separator)
	if rest, found := strings.CutPrefix(text, "~/"); found {
		path = filepath.Join(s.Env("HOME"), rest)
	}
	if strings.HasPrefix(text, "SHA256:") {
		return "", false, nil
	}
	line, err = readFile(path)
	if fault.Is(err, fault.NotFound) && !isPath {
		return "", false, nil
	}
	return line, err == nil, err
}

func readFile(path string) (string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fault.Newf(fault.NotFound, "no file %s", path)
	}
	if err != nil {
		return "", fmt.Errorf("read key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fault.Newf(fault.Invalid, "%s is no file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read key: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return "", fmt.Errorf("read key: %w", err)
	}
	line := strings.TrimSpace(string(text))
	switch {
	case strings.Contains(line, "PRIVATE KEY") && !strings.HasSuffix(path, ".pub"):
		public, err := readFile(path + ".pub")
		if fault.Is(err, fault.NotFound) {
			err = fault.Newf(fault.Invalid, "%s is a private key, and there is no %s.pub beside it", path, path)
		}
		return public, err
	case !looksPublic(line):
		return "", fault.Newf(fault.Invalid, "%s holds no SSH public key", path)
	}
	return line, nil
}

// looksPublic reports whether line may be a public key; the cloud looks closer.
func looksPublic(line string) bool {
	algorithm, blob, _ := strings.Cut(line, " ")
	known := strings.HasPrefix(algorithm, "ssh-") || strings.HasPrefix(algorithm, "ecdsa-") || strings.HasPrefix(algorithm, "sk-")
	return known && strings.HasPrefix(blob, "AAAA") && !strings.ContainsAny(line, "\r\n")
}
