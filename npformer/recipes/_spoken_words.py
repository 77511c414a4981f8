"""English words and how they are said: a dictionary made by hand, a letter for each sound.

The sounds are those of a speaker from the middle of the United States, written as

    i  see     I  sit     E  set     A  sat     V  sun     @  about   R  bird
    Q  hot     O  saw     U  put     u  moon    e  day     o  go      a  my      W  now    Y  boy
    p b t d k g f v s z h m n l r w y as one would expect, and
    T  thin    D  this    S  ship    Z  measure    C  chin    J  jam    N  sing

`npformer.recipes._formants` knows what each is made of.
"""

_WRITTEN_AND_SAID = """
zero zIro  one wVn  two tu  three Tri  four fOr  five fav  six sIks  seven sEv@n  eight et
nine nan  ten tEn  eleven IlEv@n  twelve twElv  twenty twEnti  thirty TRti  forty fOrti
fifty fIfti  sixty sIksti  seventy sEv@nti  eighty eti  ninety nanti  hundred hVndr@d
million mIly@n  half hAf  double dVb@l  first fRst  second sEk@nd  third TRd  last lAst
red rEd  green grin  blue blu  yellow yElo  black blAk  white wat  brown brWn  pink pINk
orange Or@nJ  silver sIlvR  gold gold  gray gre  purple pRp@l  dark dQrk  bright brat  pale pel
dog dOg  cat kAt  pig pIg  cow kW  hen hEn  duck dVk  goat got  sheep Sip  lamb lAm  horse hOrs
bird bRd  fish fIS  frog frQg  snake snek  mouse mWs  rabbit rAb@t  tiger tagR  lion la@n
bear bEr  wolf wUlf  fox fQks  deer dIr  monkey mVNki  camel kAm@l  spider spadR  turtle tRt@l
chicken CIk@n  turkey tRki  pigeon pIJ@n  eagle ig@l  whale wel  shark SQrk  worm wRm  bee bi
bread brEd  butter bVtR  cheese Ciz  milk mIlk  water wOtR  tea ti  coffee kOfi  sugar SUgR
salt sOlt  pepper pEpR  apple Ap@l  banana b@nAn@  lemon lEm@n  cherry CEri  peach piC
grape grep  melon mEl@n  tomato t@meto  potato p@teto  onion Vny@n  carrot kEr@t  bean bin
pea pi  rice ras  soup sup  meat mit  egg Eg  honey hVni  cake kek  cookie kUki  dinner dInR
supper sVpR  lunch lVnC  breakfast brEkf@st  salad sAl@d  pasta pQst@  candy kAndi  cream krim
hand hAnd  finger fINgR  thumb TVm  arm Qrm  leg lEg  foot fUt  knee ni  head hEd  hair hEr
face fes  nose noz  mouth mWT  ear Ir  eye a  tooth tuT  neck nEk  back bAk  chest CEst
heart hQrt  blood blVd  bone bon  skin skIn  shoulder SoldR  stomach stVm@k  tongue tVN
sun sVn  moon mun  star stQr  sky ska  cloud klWd  rain ren  snow sno  wind wInd  storm stOrm
thunder TVndR  river rIvR  lake lek  sea si  ocean oS@n  beach biC  island al@nd  hill hIl
mountain mWnt@n  valley vAli  forest fOr@st  tree tri  leaf lif  flower flWR  grass grAs
garden gQrd@n  stone ston  rock rQk  sand sAnd  mud mVd  dust dVst  fire faR  smoke smok  ice as
winter wIntR  summer sVmR  spring sprIN  autumn Ot@m  morning mOrnIN  evening ivnIN  night nat
day de  week wik  month mVnT  year yIr  hour WR  minute mIn@t  today t@de  tomorrow t@mQro
monday mVnde  tuesday tuzde  friday frade  sunday sVnde  april epr@l  may me  june Jun
house hWs  home hom  door dOr  window wIndo  wall wOl  floor flOr  roof ruf  room rum
kitchen kIC@n  table teb@l  chair CEr  bed bEd  lamp lAmp  candle kAnd@l  clock klQk
mirror mIrR  picture pIkCR  bottle bQt@l  cup kVp  glass glAs  plate plet  bowl bol  knife naf
fork fOrk  spoon spun  basket bAsk@t  box bQks  bag bAg  key ki  lock lQk  ladder lAdR
hammer hAmR  nail nel  rope rop  paper pepR  pencil pEns@l  pen pEn  book bUk  letter lEtR
story stOri  number nVmbR  word wRd  name nem  school skul  teacher tiCR  student stud@nt
lesson lEs@n  question kwEsC@n  answer AnsR  paint pent  music myuzIk  song sON  dance dAns
piano piAno  violin va@lIn  drum drVm  bell bEl  horn hOrn  game gem  ball bOl  doll dQl
toy tY  kite kat  train tren  car kQr  bus bVs  truck trVk  boat bot  ship SIp  plane plen
wheel wil  engine EnJ@n  road rod  street strit  bridge brIJ  corner kOrnR  market mQrk@t
shop SQp  store stOr  bank bANk  church CRC  station steS@n  city sIti  village vIl@J  town tWn
farm fQrm  field fild  barn bQrn  castle kAs@l  king kIN  queen kwin  prince prIns
mother mVDR  father fQDR  brother brVDR  sister sIstR  uncle VNk@l  baby bebi  child Cald
woman wUm@n  man mAn  boy bY  girl gRl  friend frEnd  neighbor nebR  doctor dQktR  nurse nRs
farmer fQrmR  baker bekR  driver dravR  singer sINR  painter pentR  sailor selR  soldier solJR
shirt SRt  coat kot  hat hAt  shoe Su  sock sQk  dress drEs  skirt skRt  button bVt@n  pocket pQk@t
jacket JAk@t  glove glVv  scarf skQrf  belt bElt  ring rIN  wool wUl  cotton kQt@n  leather lEDR
go go  come kVm  run rVn  walk wOk  jump JVmp  swim swIm  fly fla  sit sIt  stand stAnd  sleep slip
wake wek  eat it  drink drINk  cook kUk  wash wQS  clean klin  open op@n  close kloz  push pUS
pull pUl  carry kEri  bring brIN  give gIv  take tek  send sEnd  buy ba  sell sEl  pay pe
find fand  lose luz  keep kip  hold hold  throw Tro  catch kAC  hit hIt  kick kIk  break brek
cut kVt  build bIld  make mek  draw drO  read rid  speak spik  talk tOk  say se
tell tEl  ask Ask  call kOl  listen lIs@n  look lUk  watch wQC  show So
think TINk  learn lRn  teach tiC  forget fRgEt  remember rImEmbR  love lVv  hate het
want wQnt  need nid  hope hop  wish wIS  begin bIgIn  finish fInIS  stop stQp  wait wet
follow fQlo  help hElp  work wRk  play ple  laugh lAf  cry kra  smile smal  sing sIN  travel trAv@l
good gUd  bad bAd  big bIg  small smOl  long lON  short SOrt  tall tOl  high ha  low lo
wide wad  narrow nEro  thick TIk  thin TIn  heavy hEvi  light lat  hot hQt  cold kold  warm wOrm
cool kul  wet wEt  dry dra  hard hQrd  soft sOft  sharp SQrp  flat flAt  round rWnd  square skwEr
empty Empti  full fUl  new nu  old old  young yVN  early Rli  late let  fast fAst  slow slo
quick kwIk  quiet kwa@t  loud lWd  happy hApi  sad sAd  angry ANgri  tired taRd  hungry hVNgri
thirsty TRsti  busy bIzi  lazy lezi  easy izi  simple sImp@l  strange strenJ  funny fVni
pretty prIti  ugly Vgli  rich rIC  poor pUr  strong strON  brave brev  clever klEvR
gentle JEnt@l  honest Qn@st  perfect pRfIkt  dirty dRti  rotten rQt@n  sudden sVd@n  silent sal@nt
here hIr  there DEr  where wEr  now nW  then DEn  never nEvR  always Olwez  often Of@n
again @gEn  before bIfOr  after AftR  under VndR  over ovR  above @bVv  below bIlo  behind bIhand
between bItwin  inside Insad  outside WtSad  left lEft  right rat  north nOrT  south sWT  east ist
west wEst  yes yEs  no no  please pliz  thank TANk  sorry sQri  hello h@lo  welcome wElk@m
measure mEZR  pleasure plEZR  treasure trEZR  vision vIZ@n  this DIs  that DAt  nothing nVTIN
voice vYs  noise nYz  point pYnt  oil Yl  coin kYn  join JYn  enjoy EnJY  cowboy kWbY
value vAlyu  visit vIz@t  very vEri  velvet vElv@t  youth yuT  yard yQrd  yarn yQrn
jelly JEli  judge JVJ  jungle JVNg@l  magic mAJIk  danger denJR  zebra zibr@  puzzle pVz@l
wizard wIzRd  chance CAns  change CenJ  cheap Cip  kitten kIt@n  puppy pVpi  shadow SAdo
shower SWR  shelter SEltR  winner wInR  planet plAn@t  rocket rQk@t  robot robQt
hotel hotEl  camera kAmr@  radio redio  video vIdio  sofa sof@  soda sod@  pizza pits@
"""

_PAIRS = _WRITTEN_AND_SAID.split()
SOUNDS = dict(zip(_PAIRS[::2], _PAIRS[1::2], strict=True))
"""What every word sounds like; no two words sound the same."""
