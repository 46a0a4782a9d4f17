package terminal

import (
	"encoding/binary"
	"encoding/json"

	"go.etcd.io/bbolt"

	"github.com/paywordhq/payword/internal/purse"
)

// put writes a row under a number of the bucket's own; number 0 means a new one.
func put(tx *bbolt.Tx, bucket []byte, number uint64, row any) (uint64, error) {
	text, err := json.Marshal(row)
	if err == nil && number == 0 {
		number, err = tx.Bucket(bucket).NextSequence()
	}
	if err != nil {
		return 0, err
	}
	return number, tx.Bucket(bucket).Put(binary.BigEndian.AppendUint64(nil, number), text)
}

func (j *journal) remove(bucket []byte, number uint64) error {
	return j.update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).Delete(binary.BigEndian.AppendUint64(nil, number))
	})
}

func (j *journal) beginLoad(l load) (load, error) {
	err := j.update(func(tx *bbolt.Tx) (err error) {
		l.number, err = put(tx, loadBucket, 0, l)
		return err
	})
	return l, err
}

// changeLoad is change for a load. A load that is at its end is forgotten.
func (j *journal) changeLoad(l load, change func(l *load)) (now load, isChanged bool, err error) {
	err = j.update(func(tx *bbolt.Tx) error {
		key := binary.BigEndian.AppendUint64(nil, l.number)
		text := tx.Bucket(loadBucket).Get(key)
		if text == nil { // somebody else ended it
			now = l
			now.State = Settled
			return nil
		}
		now = load{number: l.number}
		if err := json.Unmarshal(text, &now); err != nil || now.State != l.State {
			return err
		}
		isChanged = true
		change(&now)
		if isLoadEnded(now.State) {
			return tx.Bucket(loadBucket).Delete(key)
		}
		_, err := put(tx, loadBucket, l.number, now)
		return err
	})
	return now, isChanged, err
}

func isLoadEnded(state State) bool {
	return state == Loaded || state == NotLoaded || state == Settled || state == RefusedForGood
}

func (j *journal) loads(isWanted func(l load) bool) (list []load, err error) {
	err = j.view(func(tx *bbolt.Tx) error {
		return each(tx, loadBucket, func(key, text []byte) (bool, error) {
			l := load{number: binary.BigEndian.Uint64(key)}
			err := json.Unmarshal(text, &l)
			if err == nil && isWanted(l) {
				list = append(list, l)
			}
			return len(list) < maxListed, err
		})
	})
	return list, err
}

func (j *journal) keepScript(s script) (script, error) {
	err := j.update(func(tx *bbolt.Tx) (err error) {
		s.number, err = put(tx, scriptsTold, s.number, s)
		return err
	})
	return s, err
}

func (j *journal) scripts() (list []script, err error) {
	err = j.view(func(tx *bbolt.Tx) error {
		return each(tx, scriptsTold, func(key, text []byte) (bool, error) {
			s := script{number: binary.BigEndian.Uint64(key)}
			err := json.Unmarshal(text, &s)
			list = append(list, s)
			return len(list) < maxListed, err
		})
	})
	return list, err
}

// keepHotList writes down the cards that are not to be taken, for when clearing
// is away as the terminal begins.
func (j *journal) keepHotList(cards []purse.ID) error {
	text := make([]byte, 0, 8*len(cards))
	for _, card := range cards {
		text = append(text, card[:]...)
	}
	return j.update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(metaHotList, text) })
}

func (j *journal) hotList() (cards []purse.ID, err error) {
	err = j.view(func(tx *bbolt.Tx) error {
		text := tx.Bucket(metaBucket).Get(metaHotList)
		for ; len(text) >= 8; text = text[8:] {
			cards = append(cards, purse.ID(text[:8]))
		}
		return nil
	})
	return cards, err
}

// disown writes down that clearing has another payment under a number of this one.
func (j *journal) disown(tno uint32) error {
	return j.update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(metaDisowned, numberKey(tno)) })
}

func (j *journal) disowned() (tno uint32, is bool, err error) {
	err = j.view(func(tx *bbolt.Tx) error {
		number := tx.Bucket(metaBucket).Get(metaDisowned)
		if is = len(number) == 4; is {
			tno = binary.BigEndian.Uint32(number)
		}
		return nil
	})
	return tno, is, err
}
