package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/cpucloud/cpucloud/internal/cli"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// aboutTokens is the part of help texts about how a token is given.
const aboutTokens = `The machine's provider makes a join token with ` + "`cpucloud provider token`" + `. Give it in
CPUCLOUD_JOIN_TOKEN, in a file (--token-file), or on standard input (--token -). With
--token join_… other users of this machine can see it while the command runs; it is good
for one server, and of no use once that has joined.`

// tokenFlags say where the join token is.
type tokenFlags struct {
	token string
	file  string
}

func (t *tokenFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&t.token, "token", "", "the join token, or - to read it from standard input; other users can see it here")
	flags.StringVar(&t.file, "token-file", "", "file with the join token")
	flags.StringVar(&t.file, "join-token-file", "", "the same as --token-file")
}

// maxToken bounds what is read as a token.
const maxToken = 4 << 10

// read returns the token. Returns an Invalid fault when there is none.
func (t *tokenFlags) read(sys cli.IO) (string, error) {
	if t.token != "" && t.file != "" {
		return "", fault.New(fault.Invalid, "give the join token once: with --token or with --token-file")
	}
	token := t.token
	switch {
	case t.token == "-":
		text, err := io.ReadAll(io.LimitReader(sys.In, maxToken))
		if err != nil {
			return "", fmt.Errorf("read join token: %w", err)
		}
		token = string(text)
	case t.file != "":
		text, err := os.ReadFile(t.file)
		if err != nil {
			return "", fault.Newf(fault.Invalid, "the join token can't be read: %v", err)
		}
		token = string(text)
	case token == "":
		token = sys.Env("CPUCLOUD_JOIN_TOKEN")
	}
	token = strings.TrimSpace(token)
	if token == "" {
		return "", fault.New(fault.Invalid,
			"this machine has not joined yet: give a join token by CPUCLOUD_JOIN_TOKEN, --token-file or --token -; "+
				"its provider makes one with `cpucloud provider token`")
	}
	if strings.ContainsAny(token, " \t\r\n") || len(token) > maxToken/2 {
		return "", fault.New(fault.Invalid, "the join token is one word: give it alone, without the text around it")
	}
	return token, nil
}
