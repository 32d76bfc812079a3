// Package phrase is the 24 words that everything of a user comes from: a BIP-39 mnemonic of 256 bits of entropy from
// the English list, and its seed.
//
// # Words (BIP-39, "Generating the mnemonic")
//
// The 256 bits of entropy and the first 8 bits of their SHA-256 make 264 bits: 24 groups of 11, each the index of a
// word in the list of 2048.
//
// # Seed (BIP-39, "From mnemonic to seed")
//
// PBKDF2 with HMAC-SHA-512, 2048 rounds, password = the 24 words with one space between, salt = "mnemonic": 64 bytes.
// The optional passphrase of BIP-39 is always empty: a wrong one could not be told from a right one, and a forgotten
// one would lose the volume that the words are there to save.
//
// Shorter BIP-39 phrases are refused: keys that shall outlive quantum computers take 256 bits.
//
// Invariants: a Phrase prints as "[redacted]" and no error contains a word that was typed. Where a word is not in the
// list, the error gives its position and the words of the list that are near it.
package phrase

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tyler-smith/go-bip39"

	"github.com/qsfs/qsfs/identity/secret"
)

const (
	// WordCount is how many words a phrase has.
	WordCount = 24
	// maxTextBytes bounds what Parse looks at. The longest phrase, 24 words of 8 letters, has 215 bytes.
	maxTextBytes = 4096

	entropyBytes = 32
)

// ErrInvalid means that a text is not a phrase: wrong number of words, a word not in the list, or a checksum that
// does not fit. The caller shows the message and asks again.
var ErrInvalid = errors.New("phrase: invalid phrase")

// Phrase is a valid phrase. The zero value is none: its methods that need the words panic.
type Phrase struct {
	secret.Hidden
	entropy secret.Box[[entropyBytes]byte]
}

// New makes a phrase out of 32 bytes of random; nil means crypto/rand.
func New(random io.Reader) (Phrase, error) {
	if random == nil {
		random = rand.Reader
	}
	entropy := new([entropyBytes]byte)
	if _, err := io.ReadFull(random, entropy[:]); err != nil {
		return Phrase{}, fmt.Errorf("phrase: read randomness: %w", err)
	}
	// A source that repeats one byte is broken (once in 2^248 for a good one), and the phrase it would give is
	// known to everyone: 32 zero bytes are "abandon ... art".
	if bytes.Count(entropy[:], entropy[:1]) == entropyBytes {
		return Phrase{}, errors.New("phrase: the source of randomness is broken: it repeats one byte")
	}
	return fromEntropy(entropy), nil
}

func fromEntropy(entropy *[entropyBytes]byte) Phrase { return Phrase{entropy: secret.NewBox(entropy)} }

// Parse reads a phrase as a person types it: any white space between and around the words, upper or lower case. An
// error wraps ErrInvalid.
func Parse(text string) (Phrase, error) {
	if len(text) > maxTextBytes {
		return Phrase{}, fmt.Errorf("%w: %d bytes of text are too long for %d words", ErrInvalid, len(text), WordCount)
	}
	words := strings.Fields(strings.ToLower(strings.TrimPrefix(text, "\ufeff"))) // a byte order mark may begin a file
	if len(words) != WordCount {
		return Phrase{}, fmt.Errorf("%w: %s, %d wanted", ErrInvalid, count(len(words), "word"), WordCount)
	}
	if err := checkWords(words); err != nil {
		return Phrase{}, err
	}
	entropy, err := bip39.EntropyFromMnemonic(strings.Join(words, " "))
	if err != nil || len(entropy) != entropyBytes {
		return Phrase{}, fmt.Errorf("%w: the checksum does not fit: a word is wrong, or two are swapped", ErrInvalid)
	}
	return fromEntropy((*[entropyBytes]byte)(entropy)), nil
}

// checkWords tells which words are not in the list. Only the first of them gets suggestions, to say no more of the
// phrase than helps.
func checkWords(words []string) error {
	var wrong []string
	first := ""
	for i, w := range words {
		if _, ok := bip39.GetWordIndex(w); ok {
			continue
		}
		if wrong == nil {
			first = w
		}
		wrong = append(wrong, fmt.Sprint(i+1))
	}
	if wrong == nil {
		return nil
	}
	message := fmt.Sprintf("word %s is not in the BIP-39 English list", wrong[0])
	if near := nearest(first, bip39.GetWordList()); len(near) > 0 {
		message += fmt.Sprintf(" (perhaps %s?)", strings.Join(near, " or "))
	}
	if others := wrong[1:]; len(others) == 1 {
		message += "; neither is word " + others[0]
	} else if len(others) > 1 {
		message += "; neither are words " + strings.Join(others, ", ")
	}
	return fmt.Errorf("%w: %s", ErrInvalid, message)
}

// Words returns the 24 words, to show them once or to ask some of them back.
func (p Phrase) Words() []string { return strings.Fields(p.Reveal()) }

// Reveal returns the words with one space between. Every other way to print a Phrase gives "[redacted]".
func (p Phrase) Reveal() string {
	text, err := bip39.NewMnemonic(p.mustEntropy()[:])
	if err != nil { // 32 bytes always make a mnemonic
		panic(fmt.Sprintf("phrase: %v", err))
	}
	return text
}

// Seed returns the BIP-39 seed. The caller wipes it (secret.Wipe) when the keys are derived.
func (p Phrase) Seed() *[64]byte { return p.seed("") }

func (p Phrase) seed(passphrase string) *[64]byte {
	return (*[64]byte)(bip39.NewSeed(p.Reveal(), passphrase))
}

// Wipe zeroes the entropy. Copies of p are the same phrase and gone with it; words and seeds taken out before are not.
func (p Phrase) Wipe() { p.entropy.Empty() }

func (p Phrase) mustEntropy() *[entropyBytes]byte {
	entropy := p.entropy.Get()
	if entropy == nil {
		panic("phrase: use of an empty or wiped Phrase")
	}
	return entropy
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
