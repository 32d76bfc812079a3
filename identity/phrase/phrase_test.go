package phrase

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tyler-smith/go-bip39"
	"pgregory.net/rapid"
)

type vector struct {
	Entropy  string `json:"entropy"`
	Mnemonic string `json:"mnemonic"`
	Seed     string `json:"seed"`
}

// vectors are the 24-word ones of trezor/python-mnemonic, vectors.json, the test vectors that BIP-39 names. Their
// seeds are made with the passphrase "TREZOR".
func vectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/trezor-24-words.json")
	if err != nil {
		t.Fatal(err)
	}
	var out []vector
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// Entropy gives the published words and the words give the published seed, both ways.
func TestPublishedVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Entropy[:8], func(t *testing.T) {
			entropy, err := hex.DecodeString(v.Entropy)
			if err != nil {
				t.Fatal(err)
			}
			p := fromEntropy((*[entropyBytes]byte)(entropy))
			if got := p.Reveal(); got != v.Mnemonic {
				t.Errorf("words: got %q, want %q", got, v.Mnemonic)
			}
			parsed, err := Parse(v.Mnemonic)
			if err != nil {
				t.Fatal(err)
			}
			if *parsed.entropy.Get() != *p.entropy.Get() {
				t.Errorf("entropy: got %x, want %x", *parsed.entropy.Get(), *p.entropy.Get())
			}
			if got := hex.EncodeToString(parsed.seed("TREZOR")[:]); got != v.Seed {
				t.Errorf("seed: got %s, want %s", got, v.Seed)
			}
		})
	}
}

// Our seeds have no passphrase; this one is shown by many BIP-39 tools and was computed here again with another
// implementation (Python's hashlib.pbkdf2_hmac).
func TestSeedWithoutPassphrase(t *testing.T) {
	p, err := Parse(strings.Repeat("abandon ", 23) + "art")
	if err != nil {
		t.Fatal(err)
	}
	const want = "408b285c123836004f4b8842c89324c1f01382450c0d439af345ba7fc49acf70" +
		"5489c6fc77dbd4e3dc1dd8cc6bc9f043db8ada1e243c4a0eafb290d399480840"
	if got := hex.EncodeToString(p.Seed()[:]); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The list is the one of BIP-39: the SHA-256 of english.txt in bitcoin/bips.
func TestWordList(t *testing.T) {
	list := bip39.GetWordList()
	got := fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(list, "\n")+"\n")))
	if want := "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"; got != want || len(list) != 2048 {
		t.Errorf("got %d words, %s, want %s", len(list), got, want)
	}
}

func TestNew(t *testing.T) {
	entropy := []byte("0123456789abcdef0123456789abcdefXX")
	p, err := New(bytes.NewReader(entropy))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.entropy.Get()[:]; !bytes.Equal(got, entropy[:32]) {
		t.Errorf("got %q, want the first 32 bytes of the source", got)
	}
	if n := len(p.Words()); n != WordCount {
		t.Errorf("got %d words", n)
	}
	a, errA := New(nil)
	b, errB := New(nil)
	if errA != nil || errB != nil || a.Reveal() == b.Reveal() {
		t.Errorf("two new phrases: %v, %v, or the same words", errA, errB)
	}

	broken := errors.New("broken")
	for name, random := range map[string]io.Reader{
		"fails":        iotest.ErrReader(broken),
		"short":        bytes.NewReader(entropy[:31]),
		"zeroes":       bytes.NewReader(make([]byte, 64)),
		"repeats 0xff": bytes.NewReader(bytes.Repeat([]byte{0xff}, 64)),
	} {
		t.Run(name, func(t *testing.T) {
			p, err := New(random)
			if err == nil || p.entropy.Get() != nil {
				t.Fatalf("got a phrase, %v", err)
			}
			if name == "fails" && !errors.Is(err, broken) {
				t.Errorf("got %v, want the error of the source", err)
			}
		})
	}
}

// Parse forgives white space and case, and nothing else; an error says what is wrong and none of the words typed.
func TestParse(t *testing.T) {
	words := strings.Fields(vectors(t)[5].Mnemonic)
	change := func(i int, w string) string {
		out := slices.Clone(words)
		out[i] = w
		return strings.Join(out, " ")
	}
	swapped := slices.Clone(words)
	swapped[2], swapped[3] = swapped[3], swapped[2]
	for _, v := range []struct{ name, text, want string }{
		{"as it is", strings.Join(words, " "), ""},
		{"upper case", strings.ToUpper(strings.Join(words, " ")), ""},
		{"lines and tabs", "\ufeff\r\n\t " + strings.Join(words, " \t\r\n\u00a0 ") + "\n", ""},
		{"empty", "", "0 words, 24 wanted"},
		{"one", words[0], "1 word, 24 wanted"},
		{"one missing", strings.Join(words[1:], " "), "23 words, 24 wanted"},
		{"one too many", strings.Join(words, " ") + " zoo", "25 words, 24 wanted"},
		{"12 words", "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo wrong", "12 words, 24 wanted"},
		{"too long", strings.Repeat("zoo ", 2000), "8000 bytes of text are too long for 24 words"},
		{"a slip", change(6, "abandn"), "word 7 is not in the BIP-39 English list (perhaps abandon?)"},
		{"swapped letters", change(0, "dsiagree"), "word 1 is not in the BIP-39 English list (perhaps disagree?)"},
		{"a beginning", change(23, "acou"), "word 24 is not in the BIP-39 English list (perhaps acoustic?)"},
		{"far from all", change(3, "xqzzkv"), "word 4 is not in the BIP-39 English list"},
		{"not letters", change(3, "\xff\xfe\x00"), "word 4 is not in the BIP-39 English list"},
		{"very long word", change(3, strings.Repeat("a", 500)), "word 4 is not in the BIP-39 English list"},
		{"two wrong", strings.Replace(change(1, "tomatoo"), words[20], "errly", 1),
			"word 2 is not in the BIP-39 English list (perhaps tomato?); neither is word 21"},
		{"many wrong", strings.Repeat("hunter2 ", 24), "word 1 is not in the BIP-39 English list; " +
			"neither are words 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24"},
		{"wrong word of the list", change(5, "zoo"), "the checksum does not fit: a word is wrong, or two are swapped"},
		{"two swapped", strings.Join(swapped, " "), "the checksum does not fit: a word is wrong, or two are swapped"},
	} {
		t.Run(v.name, func(t *testing.T) {
			p, err := Parse(v.text)
			if v.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if got := p.Words(); !slices.Equal(got, words) {
					t.Errorf("got %q", got)
				}
				return
			}
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("got %v, want ErrInvalid", err)
			}
			if got := strings.TrimPrefix(err.Error(), ErrInvalid.Error()+": "); got != v.want {
				t.Errorf("got %q, want %q", got, v.want)
			}
			if p.entropy.Get() != nil {
				t.Error("got a phrase with the error")
			}
		})
	}
}

// What Reveal gives, Parse takes back, however it is spaced and cased; one changed word is found, but for the one in
// 256 that the checksum lets through.
func TestParseRevealed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entropy := rapid.SliceOfN(rapid.Byte(), entropyBytes, entropyBytes).Draw(t, "entropy")
		p := fromEntropy((*[entropyBytes]byte)(entropy))
		var text strings.Builder
		for _, w := range p.Words() {
			text.WriteString(rapid.SampledFrom([]string{" ", "\n", "\t  ", "\r\n"}).Draw(t, "space"))
			if rapid.Bool().Draw(t, "upper") {
				w = strings.ToUpper(w)
			}
			text.WriteString(w)
		}
		back, err := Parse(text.String())
		if err != nil || *back.entropy.Get() != *p.entropy.Get() {
			t.Fatalf("got %v, %v", back.entropy.Get(), err)
		}
	})
}

func TestNearest(t *testing.T) {
	list := bip39.GetWordList()
	for typed, want := range map[string][]string{
		"abandon":  {"abandon"},
		"zo":       {"zoo"},
		"leter":    {"later", "letter", "alter"},
		"vot":      {"vote"},
		"acoustik": {"acoustic"},
		"":         {},
		"qqqqqq":   {},
		"été":      {},
	} {
		if got := nearest(typed, list); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", typed, got, want)
		}
	}
	for _, v := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"ab", "ba", 1}, {"ca", "abc", 3}, {"same", "same", 0}} {
		if got := editDistance(v.a, v.b); got != v.want {
			t.Errorf("%q, %q: got %d, want %d", v.a, v.b, got, v.want)
		}
	}
}

// No way of printing shows a word, the entropy or a piece of the seed.
func TestNeverPrinted(t *testing.T) {
	p, err := Parse(vectors(t)[5].Mnemonic)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	hidden := struct{ p Phrase }{p} // fmt can't call methods on this one
	for _, value := range []any{p, &p, struct{ P Phrase }{p}, hidden, &hidden} {
		fmt.Fprintf(&out, "%v %+v %#v %s %q %x %d\n", value, value, value, value, value, value, value)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("phrase", "p", value)
		slog.New(slog.NewTextHandler(&out, nil)).Info("phrase", "p", value)
	}
	fmt.Fprintln(&out, p, p.String(), p.LogValue())
	if text, err := json.Marshal(p); err == nil {
		t.Errorf("json: got %s", text)
	}
	got := out.String()
	for _, w := range append(p.Words(), hex.EncodeToString(p.entropy.Get()[:4]), strings.Trim(fmt.Sprint(p.entropy.Get()[:3]), "[]")) {
		if strings.Contains(got, w) {
			t.Errorf("printed: %s", got)
		}
	}
}

func TestWipe(t *testing.T) {
	p, err := Parse(vectors(t)[5].Mnemonic)
	if err != nil {
		t.Fatal(err)
	}
	entropy := p.entropy.Get()
	p.Wipe()
	p.Wipe()
	if *entropy != [entropyBytes]byte{} {
		t.Error("entropy is still there")
	}
	defer func() {
		if recover() == nil {
			t.Error("a wiped phrase gave words")
		}
	}()
	p.Reveal()
}

func FuzzParse(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.Mnemonic)
		f.Add(strings.Replace(v.Mnemonic, " ", "\n", 3))
		f.Add(v.Mnemonic[1:])
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || p.entropy.Get() != nil {
				t.Fatalf("got %v", err)
			}
			return
		}
		if got := strings.Join(strings.Fields(strings.ToLower(strings.TrimPrefix(text, "\ufeff"))), " "); p.Reveal() != got {
			t.Fatal("not what was typed")
		}
	})
}

func BenchmarkSeed(b *testing.B) {
	p, err := New(nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p.Seed()
	}
}
