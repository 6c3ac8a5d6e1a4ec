package listing

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// Write returns the listing as a file that Parse reads as the same.
func Write(l Listing) ([]byte, error) {
	var root yaml.Node
	if err := root.Encode(l); err != nil {
		return nil, fmt.Errorf("write listing: %w", err)
	}
	quote(&root)
	var b bytes.Buffer
	b.WriteString("# What the marketplace lists of " + comment(l.Provider) + ". Change it, then: cpucloud provider apply -f FILE\n" +
		"# Editors check it with: cpucloud provider schema > offers.schema.json\n" +
		"# yaml-language-server: $schema=offers.schema.json\n")
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(&root); err != nil {
		return nil, fmt.Errorf("write listing: %w", err)
	}
	return escape(b.String()), nil
}

// StorageType returns the kind of disk that is meant in the case of letters
// that a file has it in.
func StorageType(kind string) string {
	for _, known := range []string{"HDD", "SSD", "NVMe"} {
		if strings.EqualFold(kind, known) {
			return known
		}
	}
	return kind
}

func hidden(c rune) bool { return c != '\n' && !unicode.IsPrint(c) }

// quote puts text in quotes that has characters to escape.
func quote(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && strings.ContainsFunc(n.Value, hidden) {
		n.Style = yaml.DoubleQuotedStyle
	}
	for _, inner := range n.Content {
		quote(inner)
	}
}

// escape writes characters that a terminal would obey rather than show as
// escapes, which leaves the document the same.
func escape(doc string) []byte {
	var b bytes.Buffer
	for _, c := range doc {
		if hidden(c) {
			fmt.Fprintf(&b, `\U%08x`, c)
			continue
		}
		b.WriteRune(c)
	}
	return b.Bytes()
}

// comment makes a name fit for a comment: one line of what can be seen.
func comment(name string) string {
	if name == "" {
		return "a provider"
	}
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return unicode.ReplacementChar
	}, name)
}
