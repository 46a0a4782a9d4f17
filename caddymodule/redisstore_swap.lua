-- Compare and swap of commitments, of each by itself.
--
-- KEYS     the commitments, strings that end with the tag of their newest version;
--          first those that are appended to or only compared, then those that are
--          written whole
-- ARGV[1]  how many of the first kind there are
-- ARGV     then for each of them the tag that the caller saw last, empty if there was
--          nothing, and what to append, empty to only compare
-- ARGV     then for each of the others the tag, what to write, and how long it lives
--          from now on, in milliseconds
--
-- Answers 1 if all was as the callers saw it, and was written. Otherwise a list with
-- an answer for each: 1; nil if nothing stands there; a list of one text, which is an
-- error; or what stands there, of which only what follows the tag that the caller saw,
-- if it is there. An error in a list is no error of the protocol: the client stops
-- reading at most of these, and would take what follows for its next answers.
local pcall, appended, at = redis.pcall, tonumber(ARGV[1]), 2
local answers, isAll = {}, true
for k, key in ipairs(KEYS) do
  local seen, answer = ARGV[at], 1
  -- Numbers would be printed and read again.
  local stands = pcall('GETRANGE', key, '-8', '-1')
  if stands ~= seen then
    answer = stands
    if type(stands) == 'string' then
      answer = pcall('GET', key)
      if seen ~= '' and type(answer) == 'string' then
        -- Behind the tags of former versions, of which the second byte says how many.
        local _, last = string.find(answer, seen, 3 + 8 * (string.byte(answer, 2) or 0), true)
        if last then
          answer = string.sub(answer, last + 1)
        end
      end
    end
  elseif k > appended then
    answer = pcall('SET', key, ARGV[at + 1], 'PX', ARGV[at + 2])
  elseif ARGV[at + 1] ~= '' then
    answer = pcall('APPEND', key, ARGV[at + 1])
  end
  if type(answer) == 'table' and answer.err then
    -- A replica has written nothing. Said of the whole call, it has the client look
    -- for the master again.
    if string.sub(answer.err, 1, 8) == 'READONLY' then
      return answer
    end
    answer = {answer.err}
  end
  if type(answer) == 'number' or type(answer) == 'table' and answer.ok then
    answers[k] = 1
  else
    answers[k], isAll = answer, false
  end
  at = at + (k > appended and 3 or 2)
end
return isAll and 1 or answers
