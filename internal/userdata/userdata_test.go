package userdata_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/userdata"
)

const mixed = "Content-Type: multipart/mixed; boundary=\"B\"\nMIME-Version: 1.0\n\n"

// part is one of a message: its headers, and its text.
func part(headers, text string) string { return "--B\n" + headers + "\n\n" + text + "\n" }

// nested returns a list within a list, n deep.
func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

// doubling returns aliases of aliases, which are 2ⁿ bytes when they are written out.
func doubling(n int) string {
	text := "#cloud-config\na0: &a0 [x, x]\n"
	for i := range n {
		text += fmt.Sprintf("a%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
	}
	return text
}

// chain returns aliases each within a list of its own, n deep when they are written out.
func chain(n int) string {
	text := "#cloud-config\na0: &a0 [x]\n"
	for i := range n {
		text += fmt.Sprintf("a%d: &a%d [*a%d]\n", i+1, i+1, i)
	}
	return text
}

func TestTaken(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"none":                   "",
		"config":                 "#cloud-config\npackages: [nginx]\nruncmd:\n  - [touch, /root/there]\n",
		"config of comments":     "#cloud-config\n# later\n",
		"config of nothing":      "#cloud-config",
		"config of null":         "#cloud-config\n~\n",
		"config with CR LF":      "#cloud-config\r\npackages: [nginx]\r\n",
		"config with a space":    "#cloud-config \npackages: [nginx]\n",
		"config with merge keys": "#cloud-config\na: &a {x: 1}\nb: {<<: *a, y: 2}\n",
		"config with an alias":   "#cloud-config\na: &a [1, 2]\nb: *a\n",
		"config with binary":     "#cloud-config\nwrite_files: [{path: /a, content: !!binary aGk=}]\n",
		"config, deep":           "#cloud-config\na: " + nested(64) + "\n",
		"config, large":          "#cloud-config\na: " + strings.Repeat("x", userdata.Most-len("#cloud-config\na: ")),
		"script":                 "#!/bin/sh\ntouch /root/there\n",
		"script with a space":    "#! /usr/bin/env python3\nprint(1)\n",
		"script of one line":     "#!/bin/true",
		"message": mixed + part("Content-Type: text/cloud-config", "#cloud-config\npackages: [nginx]") +
			part("Content-Type: text/x-shellscript; charset=\"utf-8\"\nContent-Disposition: attachment; filename=\"a.sh\"", "#!/bin/sh\ntrue") +
			part("Content-Type: text/plain", "#!/bin/sh\ntrue") + "--B--\n",
		"message in base64": "From nobody Sat Jan 31 12:00:00 2026\n" + mixed + part("Content-Type: text/cloud-config\nContent-Transfer-Encoding: base64", "I2Nsb3VkLWNvbmZpZwpwYWNr\nYWdlczogW25naW54XQo=") + "--B--",
		"message, quoted":   mixed + part("Content-Type: text/x-shellscript\nContent-Transfer-Encoding: quoted-printable", "#!/bin/sh=0Atrue") + "--B--\n",
		"message, CR LF":    strings.ReplaceAll(mixed+part("Content-Type: text/x-shellscript-per-boot", "#!/bin/sh ")+"--B--\n", "\n", "\r\n"),
	} {
		if err := userdata.Check(userdata.Text(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for name, tt := range map[string]struct{ text, says string }{
		"too long":              {"#!/bin/sh\n" + strings.Repeat("#", userdata.Most), "userData has 16394 bytes; at most 16384 fit"},
		"no UTF-8":              {"#!/bin/sh\n" + secret + "\xff", "is not UTF-8"},
		"compressed":            {"\x1f\b\x00", "userData has a control character in line 1"},
		"binary":                {"#!/bin/sh\n\n" + secret + "\x00", "control character in line 3"},
		"nothing known":         {secret, "begins with none of what is understood"},
		"mark in front":         {"\ufeff#cloud-config\n", "begins with none"},
		"line in front":         {"\n#cloud-config\n", "begins with none"},
		"archive":               {"#cloud-config-archive\n- " + secret, "begins with none"},
		"include":               {"#include\nhttps://example.org/" + secret, "begins with none"},
		"part handler":          {"#part-handler\n" + secret, "begins with none"},
		"template":              {"## template: jinja\n#cloud-config\na: " + secret, "begins with none"},
		"script of Windows":     {"#!/bin/sh\r\n" + secret, "first line ends in CR LF"},
		"script of no program":  {"#!" + secret, "first line names no program"},
		"no YAML":               {"#cloud-config\na: b\n  " + secret + ": [\n", "is not well-formed YAML near line"},
		"unknown alias":         {"#cloud-config\na: *" + secret + "\n", "is not well-formed YAML"},
		"a list":                {"#cloud-config\n- " + secret + "\n", "is no mapping of keys and values at line 2"},
		"a word":                {"#cloud-config\n" + secret + "\n", "is no mapping"},
		"two documents":         {"#cloud-config\na: b\n---\n" + secret + ": c\n", "holds a second YAML document, from line 3 on"},
		"a key twice":           {"#cloud-config\n" + secret + ": 1\nb: 2\n" + secret + ": 3\n", "has the key of line 2 again in line 4"},
		"a key twice, within":   {"#cloud-config\na:\n  " + secret + ": 1\n  " + secret + ": 3\n", "has the key of line 3 again in line 4"},
		"a tag":                 {"#cloud-config\na: !!python/object/apply:os.system [" + secret + "]\n", "has a tag in line 2"},
		"a tag of its own":      {"#cloud-config\na: !x " + secret + "\n", "has a tag in line 2"},
		"itself":                {"#cloud-config\na: &a [*a, " + secret + "]\n", "has an alias within what it stands for in line 2"},
		"a bomb":                {doubling(40), "has more than 262144 bytes once its aliases are written out"},
		"a deep alias":          {chain(70), "is nested more than 64 deep"},
		"deep":                  {"#cloud-config\na: " + nested(65) + "\n", "is nested more than 64 deep in line 2"},
		"very deep":             {"#cloud-config\na: " + strings.Repeat("[", 16000), "is not well-formed YAML"},
		"message without parts": {mixed + "--B--\n", "is a MIME message without a part"},
		"message of one":        {"MIME-Version: 1.0\nContent-Type: text/cloud-config\n\n#cloud-config\na: " + secret, "no multipart one"},
		"message, no boundary":  {"MIME-Version: 1.0\nContent-Type: multipart/mixed\n\n" + secret, "no multipart one with a boundary"},
		"message without end":   {mixed + part("Content-Type: text/x-shellscript", "#!/bin/sh\n"+secret), "part 1 can't be decoded or has no end"},
		"message of an include": {mixed + part("Content-Type: text/x-include-url", secret) + "--B--\n", "part 1 has a type that is not understood"},
		"message of a handler":  {mixed + part("Content-Type: text/x-shellscript", "#!/bin/sh") + part("Content-Type: text/part-handler", secret) + "--B--\n", "part 2 has a type that is not understood"},
		"message in a message":  {mixed + part("Content-Type: multipart/mixed; boundary=C", "--C--") + "--B--\n", "part 1 has a type that is not understood"},
		"hidden message":        {mixed + part("Content-Type: text/plain", strings.ReplaceAll(mixed, "B", "C")+"--C--") + "--B--\n", "part 1 is a message within a message"},
		"part of another type":  {mixed + part("Content-Type: text/x-shellscript", "#cloud-config\na: "+secret) + "--B--\n", "part 1 does not begin with #!, as its type says"},
		"part of bad YAML":      {mixed + part("Content-Type: text/cloud-config", "#cloud-config\na: *"+secret) + "--B--\n", "part 1 is not well-formed YAML"},
		"part, bad base64":      {mixed + part("Content-Type: text/x-shellscript\nContent-Transfer-Encoding: base64", "*"+secret) + "--B--\n", "part 1 can't be decoded"},
		"part, other encoding":  {mixed + part("Content-Type: text/x-shellscript\nContent-Transfer-Encoding: x-"+secret, "#!/bin/sh") + "--B--\n", "part 1 has a transfer encoding that is not understood"},
		"part, other charset":   {mixed + part("Content-Type: text/x-shellscript; charset=utf-16", "#!/bin/sh") + "--B--\n", "part 1 is neither UTF-8 nor ASCII"},
		"part, binary inside":   {mixed + part("Content-Type: text/x-shellscript\nContent-Transfer-Encoding: base64", "IyEvYmluL3NoAA==") + "--B--\n", "part 1 has a control character in line 1"},
		"too many parts":        {mixed + strings.Repeat(part("Content-Type: text/x-shellscript", "#!/bin/sh"), 33) + "--B--\n", "of more than 32 parts"},
	} {
		err := userdata.Check(userdata.Text(tt.text))
		if !fault.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), tt.says) {
			t.Errorf("%s: %v, want an Invalid fault that says %q", name, err, tt.says)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error quotes it: %v", name, err)
		}
	}
}

// However it is printed or logged, alone or within something, it is not shown; to
// who decodes it, it is all there.
func TestTextIsNotShown(t *testing.T) {
	t.Parallel()
	const secret = userdata.Text("#!/bin/sh\nhunter2")
	type order struct {
		ID       string
		UserData userdata.Text
		Pointer  *userdata.Text
	}
	within := order{"a", secret, new(userdata.Text)}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("order", "text", secret, "order", within)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("order", "text", secret)
	for _, shown := range []string{
		fmt.Sprint(secret), fmt.Sprintf("%s %q %v %+v %#v %x %d", secret, secret, secret, secret, secret, secret, secret),
		fmt.Sprintf("%v %+v %#v", within, within, within), fmt.Sprint([]userdata.Text{secret}), fmt.Errorf("x: %v", secret).Error(), log.String(),
	} {
		if strings.Contains(shown, "hunter2") || strings.Contains(shown, "68756e746572") || !strings.Contains(shown, "user data of 17 bytes") {
			t.Errorf("shown as %s", shown)
		}
	}
	text, err := json.Marshal(secret)
	var back userdata.Text
	if err != nil || json.Unmarshal(text, &back) != nil || back != secret {
		t.Errorf("encoded as %s, %v", text, err)
	}
}

// No text takes long, panics, or is quoted where it is refused.
func FuzzCheck(f *testing.F) {
	for _, text := range []string{
		"#cloud-config\na: &a [*a]\n", doubling(30), chain(70), "#cloud-config\na: {b: 1, b: 2}\n---\n", "#!/bin/sh\r\n", "#cloud-config\n? [a]\n: b\n",
		mixed + part("Content-Type: text/cloud-config\nContent-Transfer-Encoding: base64", "I2Nsb3VkLWNvbmZpZw==") + "--B--\n", "From x\n" + mixed, "#cloud-config\n%YAML 1.1\n--- |\n x",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		const secret = "hunter2"
		for _, whole := range []string{text, text + secret, "#cloud-config\n" + text + secret, mixed + part("Content-Type: text/cloud-config", "#cloud-config\n"+text+secret) + "--B--"} {
			err := userdata.Check(userdata.Text(whole))
			if err != nil && (!fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), secret) || len(err.Error()) > 400) {
				t.Errorf("%q: %v", whole, err)
			}
			if err == nil && len(whole) > userdata.Most {
				t.Errorf("%d bytes were taken", len(whole))
			}
		}
	})
}
